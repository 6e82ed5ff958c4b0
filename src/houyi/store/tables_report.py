"""The table of what hosts said of themselves at length."""

from sqlalchemy import Column, Float, ForeignKey, Table, Text

from houyi.store.schema import metadata

host_report = Table(
    "host_report",
    metadata,
    Column("host_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("doc", Text, nullable=False),
    Column("at", Float(53), nullable=False),
)
"""The newest of each host; `at`: when it came."""
