"""Tuning: what is asked of a host, what its agent reads back, and the profile of a VM type."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("vm_type", sa.Column("profile", sa.Text(), nullable=True))
    op.add_column("host", sa.Column("tuning", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("host_observed", sa.Column("tuned", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("host_observed", "tuned")
    op.drop_column("host", "tuning")
    op.drop_column("vm_type", "profile")
