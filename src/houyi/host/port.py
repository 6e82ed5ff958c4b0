"""What the agent may ask of a machine, as protocols by capability. The real machine and the simulated one pass the same contract tests.

Every call is idempotent unless its name is an act (`reboot`, `reset`); every failure is a `model.errors.HouyiError`:
`Failed` when the machine refused (its words in `detail`), `Unavailable` when libvirt is away (try again later), `Invalid` when
the order can never work here. Nothing here decides: planning does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from houyi.host.measures import Telemetry, Tracing
from houyi.host.passages import Channel, Passages
from houyi.host.port_tuning import LiveKnobs, Tuner
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.host import HostFacts, HostLoad
from houyi.model.host_report import HostTraits
from houyi.model.ids import ImageId, NetworkId, VmId
from houyi.model.image import DesiredImage
from houyi.model.migration import Figures, GuestSample, Knobs, Landing, Presence, Terms
from houyi.model.network import DesiredNetwork
from houyi.model.vm import DesiredVm, GuestAgent, StateReason, VmState


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSeen:
    """One VM's domain as the hypervisor has it now."""

    vm_id: VmId
    epoch: int
    """As written into the domain's metadata when it was last defined."""
    state: VmState
    """STOPPED, RUNNING, PAUSED, CRASHED or STOPPING (an orderly shutdown is under way)."""
    reason: StateReason
    accelerator: str
    guest_agent: GuestAgent
    started_at: float
    """Unix seconds; 0 when not running. May be approximate after a restart of the agent (taken from the process)."""
    cpu_features: tuple[str, ...] = ()
    """All CPU features of the running guest, sorted; empty: it does not run, or that is not known."""
    tuned: Mapping[str, str] = field(default_factory=dict)
    """Settings of VM knobs that the running guest has, where they are not the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineEvent:
    """Something moved: wakes the loop, which looks at everything; `kind` and `detail` become an event for people when not empty."""

    vm_id: VmId | None
    """None: the machine itself (the connection was lost or came back)."""
    kind: str
    """'' | 'guest_shutdown' | 'guest_reboot' | 'guest_panic' | 'qemu_died' | 'io_error' | 'watchdog' | 'memory_failure' | 'connection_lost' | 'connection_back'."""
    detail: str = ""


class Machine(Protocol):
    """The hypervisor: domains that Houyi made (it never touches or reports others)."""

    async def observe(self) -> Mapping[VmId, DomainSeen]:
        """All domains of ours. :raise Unavailable: libvirt is away."""
        ...

    async def start(self, vm: DesiredVm, *, paused: bool = False) -> None:
        """Define the domain from `vm` (again, so that changes take effect) and start it; disks, seed and networks must be there. Already running: nothing."""
        ...

    async def shutdown(self, vm_id: VmId) -> None:
        """Press the ACPI power button; returns at once. Not running: nothing."""
        ...

    async def destroy(self, vm_id: VmId) -> None:
        """Power off now. Not running: nothing."""
        ...

    async def suspend(self, vm_id: VmId) -> None: ...
    async def resume(self, vm_id: VmId) -> None: ...
    async def reboot(self, vm_id: VmId) -> None:
        """Ask the guest to reboot (guest agent, else ACPI); returns at once."""
        ...

    async def reset(self, vm_id: VmId) -> None:
        """Press the reset button."""
        ...

    async def undefine(self, vm_id: VmId) -> None:
        """Power off if running and forget the domain with its NVRAM. Unknown: nothing."""
        ...

    def events(self) -> AsyncIterator[MachineEvent]:
        """Endless; within a second of what happened. One consumer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRun:
    """A program that ran in a guest to its end."""

    exit_code: int
    """As a shell would say it: 128 and the signal that killed it."""
    output: str
    """The end of what it wrote to stdout, at most OUTPUT_MAX characters."""
    complaint: str
    """The same of stderr."""


OUTPUT_MAX = 16 << 10
"""More is a log, which belongs into a file in the guest."""


class Guests(Protocol):
    """What can be asked of the guest agent."""

    async def ping(self, vm_id: VmId) -> bool:
        """Whether the guest agent answers within 2 s."""
        ...

    async def addresses(self, vm_id: VmId) -> tuple[str, ...]:
        """IP addresses (no loopback, no link-local) as the guest says; empty when it does not answer."""
        ...

    async def run(self, vm_id: VmId, argv: Sequence[str], seconds: float) -> GuestRun:
        """Run a program in the guest to its end, without a shell. It is killed after `seconds`, or when the caller is cancelled, as far as that can be done.

        :raise Unavailable: `guest_agent_away`. :raise Failed: `guest_run_refused` (there is no such program, or the agent may not run any), `guest_run_long`.
        """
        ...


ReadImage = Callable[[int, int], Awaitable[bytes]]
"""(offset, length) -> that many bytes of the image, fewer only at its end."""
Progress = Callable[[float], None]
"""Called with 0..1."""


class Disks(Protocol):
    """Files of images and VMs on this machine."""

    async def fetch_image(self, image: DesiredImage, read: ReadImage, progress: Progress) -> None:
        """Have a verified (size, sha256), read-only copy in the cache, converted to QCOW2 unless RAW or QCOW2. An interrupted fetch goes on where it ended.

        :raise Failed: `image_differs` (digest differs), `image_refused` (inspection), `disk_full`.
        """
        ...

    async def images(self) -> frozenset[ImageId]:
        """Whole, verified copies in the cache."""
        ...

    async def remove_image(self, image_id: ImageId) -> None: ...

    async def create_disk(self, vm: DesiredVm, image: DesiredImage) -> None:
        """The boot disk: a QCOW2 overlay over the cached image, sparse, of spec.disk_gib, in spec.storage. There already: nothing.

        :raise Failed: `disk_full`, `storage_unknown`. :raise Unavailable: `storage_away`.
        """
        ...

    async def adopt_disk(self, vm: DesiredVm) -> bool:
        """A disk in a folder that hosts share, which is there already: have it here as well, without touching it. Whether it is there.

        :raise Failed: `storage_unknown`. :raise Unavailable: `storage_away`, `image_missing`.
        """
        ...

    async def write_seed(self, vm: DesiredVm, networks: tuple[DesiredNetwork, ...]) -> None:
        """The NoCloud seed, written anew (name, keys, user-data or addresses may have changed)."""
        ...

    async def vms(self) -> frozenset[VmId]:
        """VMs of which files are on this machine."""
        ...

    async def remove_vm(self, vm_id: VmId) -> None:
        """All files of a VM: disk, seed, NVRAM, console log, sockets."""
        ...

    async def leave_vm(self, vm_id: VmId) -> None:
        """The same but for a disk that other hosts see: it lives elsewhere."""
        ...


class Networks(Protocol):
    async def ensure(self, network: DesiredNetwork) -> None:
        """Have the network up with exactly these reservations, without disturbing running guests. :raise Failed: `bridge_missing`, ..."""
        ...

    async def remove(self, network_id: NetworkId) -> None: ...

    async def seen(self) -> frozenset[NetworkId]: ...


class Consoles(Protocol):
    """They go on working while libvirt is away: the sockets are QEMU's own."""

    async def serial(self, vm_id: VmId) -> Channel:
        """The live serial console; several viewers may be open at once. :raise Conflict: `not_running`."""
        ...

    async def vnc(self, vm_id: VmId) -> Channel:
        """:raise Conflict: `not_running`, `no_video`."""
        ...

    async def log(self, vm_id: VmId) -> bytes:
        """The newest part of the console's bounded log, at most 1 MiB; also of a stopped VM."""
        ...


class Mover(Protocol):
    """Live moves of domains between this machine and another (docs/rfd/0002-fleet.md). What has arrived never runs by itself, but by `go`.

    `Machine.observe` reports an INCOMING domain like any other (paused); `presences` is what tells them apart.
    """

    async def presences(self, vm_ids: Collection[VmId]) -> Mapping[VmId, Presence]:
        """What is here of each: by libvirt's state and QEMU's own migration state. :raise Unavailable: libvirt is away: nothing may be concluded."""
        ...

    async def credentials(self, ca_pem: str, certificate_pem: str, key_pem: str) -> None:
        """Have QEMU's TLS credentials for moves (server and client) in place, readable by QEMU and nobody else."""
        ...

    async def landing_xml(self, vm: DesiredVm) -> str:
        """Destination: the domain as it has to be here; its files must be there. :raise Failed: `disk_missing`."""
        ...

    async def send(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        """Source: move it, and return once it has been given up here for good (confirmed; nothing is defined any more), with its last figures.

        `vm` as the destination shall have it; `libvirt_socket` is how the destination's libvirt is reached. Cancelling the caller does not end the move: `abort` does.
        :raise Failed: `migration_failed`, `migration_cancelled`: it is over without that; `presences` tells what is here now. :raise Unavailable: libvirt went away meanwhile.
        """
        ...

    async def figures(self, vm_id: VmId) -> Figures | None:
        """Of the move that is under way from here; None: there is none."""
        ...

    async def turn(self, vm_id: VmId, knobs: Knobs) -> None:
        """Change what is under way. None under way: nothing. :raise Failed: QEMU refused."""
        ...

    async def abort(self, vm_id: VmId) -> None:
        """Stop what is under way from here, if it can still be stopped (a post-copy cannot). None: nothing. `send` then ends by itself."""
        ...

    async def go(self, vm_id: VmId, *, run: bool) -> None:
        """Destination: what has arrived is this machine's now, and executes if `run` (else it stays paused, as its user has it). LIVE already: nothing.

        :raise Conflict: `not_arrived`: there is nothing here, or not all of it yet.
        """
        ...

    async def recover(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        """Source: take up a broken post-copy; ends as `send` does."""
        ...

    async def sample(self, vm_id: VmId, seconds: float) -> GuestSample:
        """How the guest uses its memory and its disk now; what it dirties is measured over `seconds` (0.1 to 60; or what the machine can, as the answer says). Without a time.

        :raise Conflict: `not_running`, `vm_moving`: it would disturb the move. :raise Failed: `dirty_rate_unknown`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A file of a VM that goes along when the VM moves while it is stopped."""

    name: Literal["disk", "nvram"]
    size_bytes: int
    stored_bytes: int
    """Without its holes."""


BLOCK_BYTES = 1 << 20


class Carrier(Protocol):
    """Files of stopped VMs, on their way between machines (docs/rfd/0002-fleet.md, "A stopped VM").

    A file goes in blocks of BLOCK_BYTES from its beginning; those that are all zeros do not go. Its digest is the SHA-256 of the others, in order, each after its
    offset (8 bytes, big-endian).
    """

    async def parcels(self, vm_id: VmId) -> tuple[Parcel, ...]:
        """Source: what has to go along; nothing: the VM has no disk here yet."""
        ...

    def blocks(self, vm_id: VmId, name: str, start: int) -> AsyncIterator[tuple[int, bytes]]:
        """Source: (offset, data) of every block that is not zero, from the block of `start` on."""
        ...

    async def digest(self, vm_id: VmId, name: str) -> str:
        """Source: of the file."""
        ...

    async def arrived(self, vm_id: VmId, name: str) -> int:
        """Destination: an offset before which everything has been put; 0: nothing has. A transfer that broke off goes on from there."""
        ...

    async def put(self, vm_id: VmId, name: str, offset: int, data: bytes) -> None:
        """Destination: a block. :raise Failed: `disk_full`."""
        ...

    async def accept(self, vm: DesiredVm, parcel: Parcel, sha256: str) -> None:
        """Destination: everything has been put: check it, and have it in the place of what the VM has here. What does not pass is removed.

        :raise Failed: `carried_differs` (digest), `carried_refused` (it is not what a disk of this VM may be).
        """
        ...


class Probe(Protocol):
    async def facts(self) -> HostFacts: ...
    async def load(self) -> HostLoad: ...

    async def traits(self) -> HostTraits:
        """What its report is made of. Never fails: what cannot be found out is said to be unknown."""
        ...

    async def baseline(self, cpus: Sequence[GuestCpu]) -> CpuBaseline:
        """What all of these CPUs have in common, as far as guests can have it here. :raise Failed: they have no CPU in common. :raise Unavailable: libvirt is away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One machine, whole."""

    machine: Machine
    guests: Guests
    disks: Disks
    networks: Networks
    consoles: Consoles
    probe: Probe
    mover: Mover
    carrier: Carrier
    passages: Passages
    telemetry: Telemetry
    tracing: Tracing
    tuner: Tuner
    live_knobs: LiveKnobs
    files: Path
    """Where its files are, for messages to people."""
    close: Callable[[], Awaitable[None]]
