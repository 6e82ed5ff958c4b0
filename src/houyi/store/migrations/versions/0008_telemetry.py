"""What VMs did in the newest periods."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "telemetry",
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Float(precision=53), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["vm_id"], ["vm.id"], name=op.f("fk_telemetry_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("vm_id", "slot", name=op.f("pk_telemetry")),
    )
    op.create_index(op.f("ix_telemetry_ended_at"), "telemetry", ["ended_at"], unique=False)


def downgrade() -> None:
    op.drop_table("telemetry")
