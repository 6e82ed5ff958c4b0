"""Pools of hosts, who is in them, and what their CPUs have in common."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint("name", name=op.f("uq_pool_name")),
    )
    for name, owner in (("pool_host", "host"), ("pool_vm", "vm")):
        op.create_table(
            name,
            sa.Column(f"{owner}_id", sa.Text(), nullable=False),
            sa.Column("pool_id", sa.Text(), nullable=False),
            sa.ForeignKeyConstraint([f"{owner}_id"], [f"{owner}.id"], name=op.f(f"fk_{name}_{owner}_id"), ondelete="CASCADE"),
            sa.ForeignKeyConstraint(["pool_id"], ["pool.id"], name=op.f(f"fk_{name}_pool_id")),
            sa.PrimaryKeyConstraint(f"{owner}_id", name=op.f(f"pk_{name}")),
        )
        op.create_index(op.f(f"ix_{name}_pool_id"), name, ["pool_id"], unique=False)
    op.create_table(
        "pool_status",
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pool_id"], ["pool.id"], name=op.f("fk_pool_status_pool_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_pool_status")),
    )
    op.create_table(
        "pool_answer",
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("pool_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_pool_answer_host_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_pool_answer")),
    )
    op.create_index(op.f("ix_pool_answer_pool_id"), "pool_answer", ["pool_id"], unique=False)


def downgrade() -> None:
    for name in ("pool_answer", "pool_status", "pool_vm", "pool_host", "pool"):
        op.drop_table(name)
