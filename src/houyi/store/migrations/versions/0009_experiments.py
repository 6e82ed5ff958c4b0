"""Experiments: what was asked, where each stands, and what the VM's host tells of a trial."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
    )
    op.create_index("ix_experiment_age", "experiment", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_experiment_vm_id"), "experiment", ["vm_id"], unique=False)
    op.create_table(
        "experiment_course",
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("vm_id", sa.Text(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_course_experiment_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiment_course")),
    )
    op.create_index(
        "uq_experiment_course_open", "experiment_course", ["vm_id"], unique=True, sqlite_where=sa.text("ended = 0"), postgresql_where=sa.text("NOT ended")
    )
    op.create_table(
        "experiment_trial",
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_trial_experiment_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiment_trial")),
    )


def downgrade() -> None:
    for name in ("experiment_trial", "experiment_course", "experiment"):
        op.drop_table(name)
