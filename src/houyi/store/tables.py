"""The schema, for SQLite and PostgreSQL alike. Migrations are made from it (`migrations/`), and a test compares the two.

Documents (`doc`) are JSON texts of the model's dataclasses; whatever is searched, joined or unique has a column of its own.
Times are Unix seconds. `revision` is the store's revision at the row's last write.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, false

from houyi.store.schema import created_column, revision_column
from houyi.store.schema import metadata as metadata
from houyi.store.tables_experiment import experiment as experiment
from houyi.store.tables_experiment import experiment_course as experiment_course
from houyi.store.tables_experiment import experiment_trial as experiment_trial
from houyi.store.tables_moves import line as line
from houyi.store.tables_moves import line_answer as line_answer
from houyi.store.tables_moves import migration as migration
from houyi.store.tables_moves import migration_course as migration_course
from houyi.store.tables_moves import migration_observed as migration_observed
from houyi.store.tables_moves import vm_sample as vm_sample
from houyi.store.tables_report import host_report as host_report
from houyi.store.tables_telemetry import telemetry as telemetry

counter = Table(
    "counter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""'revision': the newest revision given out; 'floor': changes up to and including it have been forgotten."""

change = Table(
    "change",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=True),
    Column("op", Text, nullable=False),
)

project = Table(
    "project",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    created_column(),
    revision_column(),
)

token = Table(
    "token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    created_column(),
    revision_column(),
    UniqueConstraint("project_id", "name"),
)

join_token = Table(
    "join_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("used_by", Text, nullable=False),
    created_column(),
    revision_column(),
)

ssh_key = Table(
    "ssh_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    created_column(),
    revision_column(),
    UniqueConstraint("project_id", "name"),
)

vm_type = Table(
    "vm_type",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_gib", Integer, nullable=False),
    Column("profile", Text, nullable=True),
    created_column(),
    revision_column(),
)

network = Table(
    "network",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=True),
    Column("name", Text, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
    UniqueConstraint("project_id", "name"),
)

image = Table(
    "image",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("public", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False, server_default=false()),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
)
Index("uq_image_live_name", image.c.project_id, image.c.name, unique=True, sqlite_where=~image.c.deleted, postgresql_where=~image.c.deleted)

image_status = Table(
    "image_status",
    metadata,
    Column("image_id", Text, ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False),
    Column("doc", Text, nullable=False),
    revision_column(),
)

vm = Table(
    "vm",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("image_id", Text, ForeignKey("image.id"), nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
)
Index("uq_vm_live_name", vm.c.project_id, vm.c.name, unique=True, sqlite_where=~vm.c.deleted, postgresql_where=~vm.c.deleted)

nic = Table(
    "nic",
    metadata,
    Column("mac", Text, primary_key=True),
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("network_id", Text, ForeignKey("network.id"), nullable=False),
    Column("address", Text, nullable=True),
    UniqueConstraint("network_id", "address"),
)
"""Which addresses are taken; `address` NULL where the platform manages none (NULLs are distinct in a unique constraint)."""

placement_group = Table(
    "placement_group",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
    UniqueConstraint("project_id", "name"),
)

placement_group_member = Table(
    "placement_group_member",
    metadata,
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True),
    Column("placement_group_id", Text, ForeignKey("placement_group.id"), nullable=False, index=True),
)
"""Written once, with the VM: which group each VM is of is in its document too, but who is in a group is asked with every claim."""

pool = Table(
    "pool",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    created_column(),
    revision_column(),
)

pool_host = Table(
    "pool_host",
    metadata,
    Column("host_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("pool_id", Text, ForeignKey("pool.id"), nullable=False, index=True),
)
"""Who is in which pool: a host is in one at most."""

pool_vm = Table(
    "pool_vm",
    metadata,
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True),
    Column("pool_id", Text, ForeignKey("pool.id"), nullable=False, index=True),
)
"""VMs that must be in a pool; written once, with the VM."""

pool_status = Table(
    "pool_status",
    metadata,
    Column("pool_id", Text, ForeignKey("pool.id", ondelete="CASCADE"), primary_key=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)

pool_answer = Table(
    "pool_answer",
    metadata,
    Column("host_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("pool_id", Text, nullable=False, index=True),
    Column("doc", Text, nullable=False),
    revision_column(),
)
"""What each host says that its pool's CPUs have in common."""

claim = Table(
    "claim",
    metadata,
    Column("id", Text, primary_key=True),
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("host_id", Text, ForeignKey("host.id"), nullable=False, index=True),
    Column("epoch", BigInteger, nullable=False),
    created_column(),
    revision_column(),
)
"""`id`: the VM's own for its home; a migration's for the place where its VM is to land. Room is what both have left."""

claim_amount = Table(
    "claim_amount",
    metadata,
    Column("claim_id", Text, ForeignKey("claim.id", ondelete="CASCADE"), primary_key=True),
    Column("resource", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
)
"""One row a resource class: a new kind of device needs no new table."""

vm_observed = Table(
    "vm_observed",
    metadata,
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), primary_key=True),
    Column("host_id", Text, nullable=False),
    Column("doc", Text, nullable=False),
    revision_column(),
)

host = Table(
    "host",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("labels", Text, nullable=False),
    Column("tuning", Text, nullable=False, server_default="{}"),
    Column("cordoned", Boolean, nullable=False),
    Column("drain_id", Text, nullable=True),
    created_column(),
    revision_column(),
)

host_observed = Table(
    "host_observed",
    metadata,
    Column("host_id", Text, ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("boot_id", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    Column("load", Text, nullable=True),
    Column("tuned", Text, nullable=True),
    Column("capacity", Text, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("last_seen_at", Float(53), nullable=False),
    revision_column(),
)

operation = Table(
    "operation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
)
Index("ix_operation_age", operation.c.created_at, operation.c.id)
Index("ix_operation_open", operation.c.target_kind, operation.c.target_id, sqlite_where=~operation.c.ended, postgresql_where=~operation.c.ended)

event = Table(
    "event",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=True),
    Column("kind", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("doc", Text, nullable=False),
    created_column(),
    revision_column(),
    Index("ix_event_age", "created_at", "id"),
    Index("ix_event_target", "target_kind", "target_id", "revision"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("response", Text, nullable=False),
    created_column(),
)

ticket = Table(
    "ticket",
    metadata,
    Column("text_sha256", Text, primary_key=True),
    Column("nonce", Text, nullable=False),
    Column("vm_id", Text, ForeignKey("vm.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("key", Text, nullable=True),
    Column("request_sha256", Text, nullable=False),
    Column("used", Boolean, nullable=False),
    Column("expires_at", Float(53), nullable=False, index=True),
    UniqueConstraint("actor", "key"),
)
"""What opens one websocket; `key` is the request's Idempotency-Key, NULL without one. The text is never here: only whoever asked can say it again."""

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),
)
