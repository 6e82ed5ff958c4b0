"""Tickets of consoles are in the store, so that any server takes what another gave."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ticket",
        sa.Column("text_sha256", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(["vm_id"], ["vm.id"], name=op.f("fk_ticket_vm_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("text_sha256", name=op.f("pk_ticket")),
        sa.UniqueConstraint("actor", "key", name=op.f("uq_ticket_actor_key")),
    )
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ticket_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_vm_id"), ["vm_id"], unique=False)


def downgrade() -> None:
    op.drop_table("ticket")
