"""Hosts as JSON; administrators see them."""

from pydantic import Field

from houyi.model.host import Accelerator, HostState, effective_host
from houyi.model.host import Host as ModelHost
from houyi.model.migration import MigrationKind
from houyi.wire.v1.migration import MigrationForecast
from houyi.wire.v1.shape import Asked, Bool, Failure, Id, Labels, Page, Revision, Shown, Text, Time, rfc3339, rfc3339_or_none


class HostUpdate(Asked):
    """What to change; a field that is missing or null stays."""

    cordoned: Bool | None = Field(None, description="True: no new VMs come here. False also ends a drain.")
    labels: Labels | None = Field(None, description="Replaces all labels.")
    pool: Text | None = Field(None, description="Name or id of the pool that it shall be in; empty: in none. VMs that run keep their CPU.")
    profile: Text | None = Field(
        None, description="Its tuning profile, also of VMs on it that name none; empty: none. What is no longer asked is put back as it was."
    )
    knobs: Labels | None = Field(None, description="Replaces all own settings of host knobs.")


class HostAccelerator(Shown):
    accelerator: Accelerator
    verdict: str = Field(description="native, slow, emulated, broken, hang, absent, denied, or forced by a setting.")
    reason: str
    exit_ns: dict[str, int] = Field(description="Nanoseconds that a VM exit costs, by kind; empty where KVM does not run.")
    loop_ns: float


class HostNumaNode(Shown):
    number: int
    cpus: list[int]
    memory_mib: int


class HostGuestCpu(Shown):
    model: str
    vendor: str
    required: list[str] = Field(description="What is added to the model.")
    disabled: list[str] = Field(description="What is taken from the model.")


class HostFacts(Shown):
    hostname: str
    boot_id: str
    agent_version: str
    qemu_version: str
    libvirt_version: str
    kernel: str
    cpu_model: str
    cpus: int
    memory_mib: int
    disk_gib: int
    numa_nodes: int
    hugepages: dict[str, int] = Field(description="Page size in KiB to number of pages.")
    accelerator: HostAccelerator
    cpu_features: list[str] = Field(description="Every CPU feature that guests can have here; empty: not known.")
    guest_cpu: HostGuestCpu | None = Field(None, description="The most that guests can have here, as libvirt describes it; null: not known.")
    machine_types: list[str]
    firmwares: list[str]
    numa: list[HostNumaNode]
    cpu_models: list[str] = Field(description="Named CPU models that guests can have; empty: not known.")
    storages: dict[str, str] = Field(description="Shared folders by name, with the id of each.")


class HostLoad(Shown):
    vms_running: int
    memory_free_mib: int
    disk_free_gib: int
    load1: float
    stalled: dict[str, float] = Field(
        description="'cpu_some', 'memory_full' ...: share of the last ten seconds in which some, or all, of what could have run had to wait; empty: not known."
    )
    libvirt_connected: bool
    clock_skew_seconds: float | None = Field(description="How far its clock is ahead of the server's; null: not known.")


class HostTuned(Shown):
    values: dict[str, str] = Field(description="Of every knob that the machine has.")
    before: dict[str, str] = Field(description="Of those that were set by us: what is put back.")
    problems: dict[str, str] = Field(description="Knob to why it is not what it shall be.")


class Host(Shown):
    id: Id
    name: str
    state: HostState
    cordoned: bool
    drain_id: Id | None = Field(description="The operation of its drain, which may have ended; null: it is not to be drained.")
    labels: dict[str, str]
    pool_id: Id | None
    pool_name: str | None
    profile: str = Field(description="Its tuning profile, also of VMs on it that name none.")
    knobs: dict[str, str] = Field(description="Own settings of host knobs.")
    tuned: HostTuned | None = Field(description="What its knobs are, as its agent reads them back; null: it has not told.")
    facts: HostFacts | None
    load: HostLoad | None
    capacity: dict[str, int] = Field(description="Resource class to what it has.")
    claimed: dict[str, int] = Field(description="Resource class to what VMs claim.")
    created_at: Time
    last_seen_at: Time | None
    revision: Revision


class HostPage(Page[Host]):
    """A page of hosts."""


class HostDeparture(Shown):
    """Where one VM would go."""

    vm_id: Id
    vm_name: str
    kind: MigrationKind | None = Field(description="null: in the state in which it is, it cannot be moved.")
    destination_id: Id | None = Field(description="null: it stays, for what `blockers` says.")
    destination_name: str | None
    begins_after_seconds: float = Field(description="From the drain's beginning.")
    forecast: MigrationForecast | None = Field(description="null: it stays, or it is a stopped VM, of which nothing is known.")
    blockers: list[Failure]


class HostDrainPlan(Shown):
    """What `dry_run=true` answers: what a drain would do now."""

    host_id: Id
    host_name: str
    summary: str
    seconds: float = Field(description="Until the last one that can move has gone.")
    vms: list[HostDeparture] = Field(description="Those that go, in the order in which they go, then those that stay.")
    left: dict[str, int] = Field(description="What is free on all other ready hosts then: resource class to amount.")


def show_host(host: ModelHost) -> Host:
    return Host(
        id=host.id,
        name=host.name,
        state=effective_host(host),
        cordoned=host.cordoned,
        drain_id=host.drain_id,
        labels=dict(host.labels),
        pool_id=host.pool_id,
        pool_name=host.pool_name or None,
        profile=host.tuning.profile,
        knobs=dict(host.tuning.knobs),
        tuned=HostTuned.model_validate(host.tuned, from_attributes=True) if host.tuned else None,
        facts=HostFacts.model_validate(host.facts, from_attributes=True) if host.facts else None,
        load=HostLoad.model_validate(host.load, from_attributes=True) if host.load else None,
        capacity=dict(host.capacity),
        claimed=dict(host.claimed),
        created_at=rfc3339(host.created_at),
        last_seen_at=rfc3339_or_none(host.last_seen_at),
        revision=host.revision,
    )
