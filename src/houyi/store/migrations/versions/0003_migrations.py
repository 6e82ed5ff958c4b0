"""Moves of VMs; claims have ids of their own, so that a VM may claim room where it is to land."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    claims, amounts = _take_claims("SELECT vm_id AS id, vm_id, host_id, epoch, created_at, revision FROM claim", "vm_id")
    table = op.create_table(
        "claim",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_claim_host_id")),
        sa.ForeignKeyConstraint(["vm_id"], ["vm.id"], name=op.f("fk_claim_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
    )
    op.create_index(op.f("ix_claim_host_id"), "claim", ["host_id"], unique=False)
    op.create_index(op.f("ix_claim_vm_id"), "claim", ["vm_id"], unique=False)
    amount_table = op.create_table(
        "claim_amount",
        sa.Column("claim_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["claim.id"], name=op.f("fk_claim_amount_claim_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("claim_id", "resource", name=op.f("pk_claim_amount")),
    )
    op.bulk_insert(table, claims)
    op.bulk_insert(amount_table, [{"claim_id": row["holder"], "resource": row["resource"], "amount": row["amount"]} for row in amounts])
    _create_migrations()


def _take_claims(query: str, holder: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """All claims and their amounts, whose tables are dropped."""
    connection = op.get_bind()
    claims = [dict(row._mapping) for row in connection.execute(sa.text(query))]
    amounts = [dict(row._mapping) for row in connection.execute(sa.text(f"SELECT {holder} AS holder, resource, amount FROM claim_amount"))]  # noqa: S608 - our own words
    op.drop_table("claim_amount")
    op.drop_table("claim")
    return claims, amounts


def _create_migrations() -> None:
    op.create_table(
        "migration",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_migration")),
    )
    op.create_index("ix_migration_age", "migration", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_migration_vm_id"), "migration", ["vm_id"], unique=False)
    op.create_table(
        "migration_course",
        sa.Column("migration_id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migration.id"], name=op.f("fk_migration_course_migration_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", name=op.f("pk_migration_course")),
    )
    op.create_index(
        "uq_migration_course_open", "migration_course", ["vm_id"], unique=True, sqlite_where=sa.text("ended = 0"), postgresql_where=sa.text("NOT ended")
    )
    op.create_table(
        "migration_observed",
        sa.Column("migration_id", sa.Text(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migration.id"], name=op.f("fk_migration_observed_migration_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", "host_id", name=op.f("pk_migration_observed")),
    )


def downgrade() -> None:
    op.drop_table("migration_observed")
    op.drop_table("migration_course")
    op.drop_table("migration")
    claims, amounts = _take_claims("SELECT vm_id, host_id, epoch, created_at, revision FROM claim WHERE id = vm_id", "claim_id")
    table = op.create_table(
        "claim",
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_claim_host_id")),
        sa.ForeignKeyConstraint(["vm_id"], ["vm.id"], name=op.f("fk_claim_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vm_id", name=op.f("pk_claim")),
    )
    op.create_index(op.f("ix_claim_host_id"), "claim", ["host_id"], unique=False)
    amount_table = op.create_table(
        "claim_amount",
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["vm_id"], ["claim.vm_id"], name=op.f("fk_claim_amount_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vm_id", "resource", name=op.f("pk_claim_amount")),
    )
    homes = {row["vm_id"] for row in claims}
    op.bulk_insert(table, claims)
    op.bulk_insert(amount_table, [{"vm_id": row["holder"], "resource": row["resource"], "amount": row["amount"]} for row in amounts if row["holder"] in homes])
