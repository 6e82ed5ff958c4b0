"""Which operation drains a host."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("host", sa.Column("drain_id", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("host", "drain_id")
