"""VMs as JSON."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from houyi.model.vm import LOCAL, EffectiveState, Firmware, GuestAgent, MigrationPolicy, Power, Remedy, RestartPolicy, StateReason, StopMode, Trouble, effective
from houyi.model.vm import Vm as ModelVm
from houyi.wire.v1.placement import HostLook
from houyi.wire.v1.shape import Asked, Bool, Failure, Id, Int, Labels, LongText, Page, Revision, Shown, Text, Time, failure, rfc3339, rfc3339_or_none


class NicCreate(Asked):
    network: Text = Field("default", description="Name or id of the network.")
    address: Text = Field("", description="IPv4 address; empty: the platform chooses a free one and keeps it for the VM's life.")


class VmCreate(Asked):
    """A VM to make. Its size is a type, or vcpus and memory_mib; what is given beside a type replaces its value."""

    name: Text = Field(description="RFC 1123 label, unique in the project; also the guest's host name.")
    image: Text = Field(description="Name or id of the image.")
    type: Text = Field("", description="Name or id of the VM type.")
    vcpus: Int | None = None
    memory_mib: Int | None = None
    disk_gib: Int | None = Field(None, description="Boot disk; by default the type's, at least the image's size.")
    nics: Annotated[list[NicCreate], Field(max_length=64)] | None = Field(None, description="Null: one NIC on the network 'default'.")
    ssh_keys: list[Annotated[str, Field(max_length=16384, pattern=r"^[^\x00]*$")]] = Field(
        [], max_length=64, description="Names or ids of SSH keys, or public keys themselves."
    )
    user_data: LongText = Field("", description="cloud-init user-data.")
    restart_policy: RestartPolicy = RestartPolicy.ON_FAILURE
    firmware: Firmware = Firmware.BIOS
    video: Bool = Field(True, description="Whether there is a display, and so VNC.")
    cpu_model: Text = Field("", description="A libvirt CPU model; empty: the host's default.")
    labels: Labels = Field({}, description="Key to value.")
    migration_policy: MigrationPolicy = Field(
        MigrationPolicy.AUTO, description="How it is moved to another host: auto, gentle (never slowed down), fast, never (not while it runs)."
    )
    downtime_ms_max: Int = Field(300, description="For how long the guest may stand still when it moves: 20 to 60000 milliseconds.")
    postcopy: Bool = Field(False, description="Whether post-copy may be used when it moves: a guest whose halves cannot meet again is lost.")
    host_labels: Labels = Field({}, description="Labels that its host must have.")
    storage: Text = Field(LOCAL, description="Where its disk is: 'local', on its host, or the name of a folder that hosts share.")
    placement_group: Text = Field("", description="Name or id of the placement group that it is made into.")
    pool: Text = Field("", description="Name or id of the pool that its hosts must be of; empty: any host.")
    cpu_features: list[Annotated[str, Field(max_length=64)]] = Field(
        [], max_length=64, description="CPU features that it must have, whatever else it gets: it goes where they can be had only."
    )
    on_trouble: dict[Trouble, Remedy] = Field(
        {},
        description="What is done about troubles: panic (restart, keep), watchdog (restart, stop, keep), io_error (resume, keep, report), "
        "memory_failure (report, restart); the first is done unless another is asked, about a panic what the restart policy says.",
    )
    profile: Text = Field("", description="Tuning profile (GET /v1/profiles); empty: the type's, else the host's.")
    knobs: Labels = Field({}, description="Own settings of VM knobs (GET /v1/knobs), which win over the profile's.")
    protected: Bool = Field(False, description="Protect it from deletion.")
    start: Bool = Field(True, description="Start it once it is made.")


class VmUpdate(Asked):
    """What to change; a field that is missing or null stays. Hardware changes take effect at the next start, the others at once."""

    name: Text | None = None
    protected: Bool | None = None
    labels: Labels | None = Field(None, description="Replaces all labels.")
    restart_policy: RestartPolicy | None = None
    vcpus: Int | None = None
    memory_mib: Int | None = None
    user_data: LongText | None = None
    firmware: Firmware | None = None
    video: Bool | None = None
    cpu_model: Text | None = None
    migration_policy: MigrationPolicy | None = None
    downtime_ms_max: Int | None = None
    postcopy: Bool | None = None
    on_trouble: dict[Trouble, Remedy] | None = Field(
        None, description="Replaces all that is asked about troubles; of watchdog and io_error's report it takes effect at the next start."
    )
    profile: Text | None = Field(None, description="Tuning profile; empty: the host's.")
    knobs: Labels | None = Field(None, description="Replaces all own settings of VM knobs; each says whether it takes effect at once or at the next start.")


class VmStop(Asked):
    mode: StopMode = Field(StopMode.GRACEFUL, description="graceful: the power button, then powered off after the grace period; force: powered off at once.")
    grace_seconds: Int = 60


class Nic(Shown):
    network_id: Id
    network_name: str
    mac: str
    address: str = Field(description="IPv4; empty on a network whose addresses the platform does not manage.")


class Vm(Shown):
    id: Id
    name: str
    project_id: Id
    project_name: str
    state: EffectiveState
    reason: StateReason = Field(description="Why it is in this state.")
    stage: str = Field(description="What its host is doing with it right now.")
    progress: float = Field(description="0..1 within what its host is doing.")
    error: Failure | None
    power: Power = Field(description="What it shall be doing.")
    host_id: Id | None
    host_name: str | None
    accelerator: str = Field(description="'kvm' or 'qemu' (emulated) once it has been started.")
    image_id: Id
    image_name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    nics: list[Nic]
    guest_agent: GuestAgent
    guest_addresses: list[str] = Field(description="As the guest reports them.")
    ssh_keys: list[str]
    user_data_bytes: int = Field(description="Size of its user-data, which is not shown.")
    restart_policy: RestartPolicy
    restarts: int = Field(description="How often the restart policy started it since the last power verb.")
    firmware: Firmware
    video: bool
    cpu_model: str
    labels: dict[str, str]
    migration_policy: MigrationPolicy
    downtime_ms_max: int
    postcopy: bool
    migration_id: Id | None = Field(description="The move to another host that it is on: /v1/migrations/ID says how far it is. Until it ends no verb is taken.")
    host_labels: dict[str, str] = Field(description="Labels that its host must have.")
    storage: str = Field(description="Where its disk is: 'local', or the name of a folder that hosts share.")
    placement_group_id: Id | None
    placement_group_name: str | None
    pool_id: Id | None
    pool_name: str | None
    cpu_features: list[str] = Field(description="CPU features that it must have, whatever else it gets.")
    profile: str = Field(description="Its tuning profile; empty: the host's. GET /v1/vms/ID/tuning says what comes of it.")
    on_trouble: dict[Trouble, Remedy] = Field(description="What is asked about troubles; the others are dealt with in the usual way.")
    knobs: dict[str, str] = Field(description="Own settings of VM knobs.")
    tuned: dict[str, str] = Field(description="Settings that the guest runs with, where they are not the default, as read back from the machine.")
    protected: bool
    generation: int = Field(description="Grows with every change of what is asked.")
    observed_generation: int = Field(description="The newest generation that is in force on its host.")
    created_at: Time
    started_at: Time | None
    changed_at: Time | None = Field(description="When its state last changed.")
    revision: Revision


class VmPage(Page[Vm]):
    """A page of VMs."""


class VmRehearsal(Shown):
    """What `dry_run=true` answers: the VM that would be made, and where it would go."""

    host_id: Id | None
    host_name: str | None
    why_not: str = Field(description="Why no host can take it; empty if one can.")
    removed: dict[str, int] = Field(description="How many hosts each reason ruled out.")
    vcpus: int
    memory_mib: int
    disk_gib: int
    asked: dict[str, int] = Field(description="Resource class to amount.")
    left: dict[str, int] = Field(description="The most that any one ready host has left of each resource.")
    hosts: list[HostLook] | None = Field(None, description="Every host, the best first; null to members.")


class Ticket(Shown):
    """Opens one websocket, once, within 30 seconds: for browsers, which cannot send an Authorization header with one."""

    ticket: str
    expires_at: Time


class TicketCreate(Asked):
    kind: Literal["console", "vnc"] = "console"


def show_vm(vm: ModelVm, names: Mapping[str, str]) -> Vm:
    """:param names: id to name of its project, image, networks, placement group, pool and host; '' is shown for what is missing."""
    desired, spec, observed = vm.desired, vm.desired.spec, vm.observed
    return Vm(
        id=desired.id,
        name=desired.name,
        project_id=desired.project_id,
        project_name=names.get(desired.project_id, ""),
        state=effective(vm),
        reason=observed.reason if observed else StateReason.NONE,
        stage=observed.stage if observed else "",
        progress=observed.progress if observed else 0.0,
        error=failure(observed.error) if observed else None,
        power=desired.power,
        host_id=vm.host_id,
        host_name=names.get(vm.host_id, "") if vm.host_id else None,
        accelerator=observed.accelerator if observed else "",
        image_id=spec.image_id,
        image_name=names.get(spec.image_id, ""),
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        disk_gib=spec.disk_gib,
        nics=[Nic(network_id=nic.network_id, network_name=names.get(nic.network_id, ""), mac=nic.mac, address=nic.address) for nic in desired.nics],
        guest_agent=observed.guest_agent if observed else GuestAgent.DISCONNECTED,
        guest_addresses=list(observed.guest_addresses) if observed else [],
        ssh_keys=list(spec.ssh_keys),
        user_data_bytes=len(spec.user_data.encode()),
        restart_policy=spec.restart_policy,
        restarts=observed.restarts if observed else 0,
        firmware=spec.firmware,
        video=spec.video,
        cpu_model=spec.cpu_model,
        labels=dict(spec.labels),
        migration_policy=spec.migration_policy,
        downtime_ms_max=spec.downtime_ms_max,
        postcopy=spec.postcopy,
        migration_id=vm.migration_id,
        host_labels=dict(spec.host_labels),
        storage=spec.storage,
        placement_group_id=spec.placement_group_id,
        placement_group_name=names.get(spec.placement_group_id, "") if spec.placement_group_id else None,
        pool_id=spec.pool_id,
        pool_name=names.get(spec.pool_id, "") if spec.pool_id else None,
        cpu_features=list(spec.cpu_features),
        profile=spec.profile,
        on_trouble=dict(spec.on_trouble),
        knobs=dict(spec.knobs),
        tuned=dict(observed.tuned) if observed else {},
        protected=vm.protected,
        generation=desired.generation,
        observed_generation=observed.generation if observed else 0,
        created_at=rfc3339(vm.created_at),
        started_at=rfc3339_or_none(observed.started_at) if observed else None,
        changed_at=rfc3339_or_none(observed.changed_at) if observed else None,
        revision=vm.revision,
    )
