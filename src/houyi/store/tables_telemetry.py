"""The table of what VMs did."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from houyi.store.schema import metadata

telemetry = Table(
    "telemetry",
    metadata,
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("host_id", Text, nullable=False),
    Column("ended_at", Float(53), nullable=False, index=True),
    Column("doc", Text, nullable=False),
)
"""What each VM did in the newest periods: a ring of PERIODS_KEPT places, each period at the place of its time, so that to write it twice is to write it once."""
