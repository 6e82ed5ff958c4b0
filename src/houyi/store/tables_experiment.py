"""Tables of experiments."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table, Text

from houyi.store.schema import created_column, metadata, revision_column

experiment = Table(
    "experiment",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("vm_id", Text, nullable=False, index=True),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
    Index("ix_experiment_age", "created_at", "id"),
)
"""What was asked. It outlives its VM: it says what helped."""

experiment_course = Table(
    "experiment_course",
    metadata,
    Column("experiment_id", Text, ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True),
    Column("vm_id", Text, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
    revision_column(),
)
Index(
    "uq_experiment_course_open",
    experiment_course.c.vm_id,
    unique=True,
    sqlite_where=~experiment_course.c.ended,
    postgresql_where=~experiment_course.c.ended,
)

experiment_trial = Table(
    "experiment_trial",
    metadata,
    Column("experiment_id", Text, ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)
"""The newest trial that its host has told of."""
