"""Tables of moves, and of what is learned from them."""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Table, Text

from houyi.store.schema import created_column, metadata, revision_column

migration = Table(
    "migration",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("vm_id", Text, nullable=False, index=True),
    Column("epoch", BigInteger, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
    Index("ix_migration_age", "created_at", "id"),
)
"""What was asked. It outlives its VM: predictions learn from it."""

migration_course = Table(
    "migration_course",
    metadata,
    Column("migration_id", Text, ForeignKey("migration.id", ondelete="CASCADE"), primary_key=True),
    Column("vm_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
    revision_column(),
)
Index(
    "uq_migration_course_open",
    migration_course.c.vm_id,
    unique=True,
    sqlite_where=~migration_course.c.ended,
    postgresql_where=~migration_course.c.ended,
)

migration_observed = Table(
    "migration_observed",
    metadata,
    Column("migration_id", Text, ForeignKey("migration.id", ondelete="CASCADE"), primary_key=True),
    Column("host_id", Text, primary_key=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)

vm_sample = Table(
    "vm_sample",
    metadata,
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)
"""The last samples of how each guest uses its memory, in one row; they stay when it moves."""

line = Table(
    "line",
    metadata,
    Column("source_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("destination_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("asked_at", Float(53), nullable=False),
    Column("open", Boolean, nullable=False),
    revision_column(),
)
"""Between which hosts the way was to be measured, the last time; a pair stands for both directions."""

line_answer = Table(
    "line_answer",
    metadata,
    Column("source_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("destination_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("host_id", Text, primary_key=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)
"""What each of the two has said to it."""
