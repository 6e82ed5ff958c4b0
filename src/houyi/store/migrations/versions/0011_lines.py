"""The ways between hosts: when they were to be measured, and what the hosts said."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "line",
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("destination_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(precision=53), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["destination_id"], ["host.id"], name=op.f("fk_line_destination_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["source_id"], ["host.id"], name=op.f("fk_line_source_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source_id", "destination_id", name=op.f("pk_line")),
    )
    op.create_table(
        "line_answer",
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("destination_id", sa.Text(), nullable=False),
        sa.Column("host_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["destination_id"], ["host.id"], name=op.f("fk_line_answer_destination_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["source_id"], ["host.id"], name=op.f("fk_line_answer_source_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source_id", "destination_id", "host_id", name=op.f("pk_line_answer")),
    )


def downgrade() -> None:
    for name in ("line_answer", "line"):
        op.drop_table(name)
