"""Placement groups, and which VMs are in them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "placement_group",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_placement_group_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_placement_group")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_placement_group_project_id_name")),
    )
    op.create_table(
        "placement_group_member",
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("placement_group_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["placement_group_id"], ["placement_group.id"], name=op.f("fk_placement_group_member_placement_group_id")),
        sa.ForeignKeyConstraint(["vm_id"], ["vm.id"], name=op.f("fk_placement_group_member_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vm_id", name=op.f("pk_placement_group_member")),
    )
    op.create_index(op.f("ix_placement_group_member_placement_group_id"), "placement_group_member", ["placement_group_id"], unique=False)


def downgrade() -> None:
    op.drop_table("placement_group_member")
    op.drop_table("placement_group")
