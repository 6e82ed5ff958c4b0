"""What a simulated machine is made of, what its guests do by themselves, and the faults that can be ordered."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from houyi.base.clock import Clock
from houyi.host.port import GuestRun, MachineEvent
from houyi.model.cpu import GuestCpu
from houyi.model.errors import HouyiError, Unavailable
from houyi.model.host import Accelerator, AcceleratorProbe, HostFacts
from houyi.model.host_report import HostTraits
from houyi.model.ids import ImageId, NetworkId, VmId
from houyi.model.image import DesiredImage
from houyi.model.migration import Presence
from houyi.model.network import DesiredNetwork
from houyi.model.vm import DesiredVm, StateReason, VmState

ON = frozenset({VmState.RUNNING, VmState.PAUSED})
LOG_BYTES = 1 << 20
"""As the port promises."""


@dataclass(slots=True, eq=False)
class SimStorage:
    """A folder that machines share."""

    id: str
    disks: dict[VmId, int] = field(default_factory=dict)
    """VM -> GiB of its disk."""
    contents: dict[VmId, bytes] = field(default_factory=dict)
    written: dict[VmId, int] = field(default_factory=dict)


@dataclass(slots=True)
class SimDomain:
    """A defined domain and the guest in it."""

    vm: DesiredVm
    state: VmState = VmState.STOPPED
    reason: StateReason = StateReason.NONE
    started_at: float = 0.0
    booted_at: float = 0.0
    """When the guest (and its agent) answers; boot_seconds after a start or reboot."""
    run: int = 0
    """Counts starts, so that what was planned for an earlier run of the guest does not hit a later one."""
    log: bytearray = field(default_factory=bytearray)
    viewers: list["asyncio.Queue[bytes]"] = field(default_factory=list)
    move: Presence | None = None
    """What a move makes of it; None: nothing."""
    dirty_mib_s: float = 10.0
    """How fast the guest writes to its memory."""
    write_set_mib: float = 32.0
    """Of memory that it writes to over and over."""
    transient: bool = False
    """It is arriving: libvirt has not finished the move, and forgets it with its process."""
    cpu_features: tuple[str, ...] = ()
    """What the running guest was started with; empty: its machine does not say what it has."""
    tuned: dict[str, str] = field(default_factory=dict)
    """Settings that the running guest has, where they are not the default."""
    missing_mib: float = 0.0
    """At the destination, in post-copy: memory that is still at the source."""
    ran_seconds: float = 0.0
    """How long the guest has executed in this run, as far as anybody looked; `counted_run` and `counted_seconds`: when that was (monotonic)."""
    counted_run: int = 0
    counted_seconds: float = 0.0

    @property
    def executes(self) -> bool:
        """Whether a guest's CPUs run in it. What a move has halted, or has not yet been told to run, is paused."""
        return self.state is VmState.RUNNING

    def say(self, data: bytes) -> None:
        self.log += data
        del self.log[:-LOG_BYTES]
        for viewer in self.viewers:
            viewer.put_nowait(data)


class SimState:
    """The state of one simulated machine, and the hand that breaks it."""

    def __init__(
        self, clock: Clock, *, boot_seconds: float = 3.0, shutdown_seconds: float = 1.0, fetch_seconds: float = 0.0, files: Path = Path("/sim")
    ) -> None:
        self.clock = clock
        self.boot_seconds, self.shutdown_seconds, self.fetch_seconds = boot_seconds, shutdown_seconds, fetch_seconds
        self.domains: dict[VmId, SimDomain] = {}
        self.disks: dict[VmId, int] = {}
        """VM -> GiB of its disk."""
        self.contents: dict[VmId, bytes] = {}
        """What is on its disk, as far as it matters: who wrote to it."""
        self.carried: dict[tuple[VmId, str], dict[int, bytes]] = {}
        """Blocks of files that have come from another machine and are not accepted yet."""
        self.shared: dict[str, SimStorage] = {}
        """Folders that other machines may see as well, by name; `share` adds one."""
        self.on: dict[VmId, SimStorage] = {}
        """Where the disks are that are not this machine's own."""
        self.written: dict[VmId, int] = {}
        """A mark of whose writes are on a VM's disk here, for who watches; it is copied with the disk. None: as its image made it."""
        self.seeds: dict[VmId, DesiredVm] = {}
        self.cache: dict[ImageId, DesiredImage] = {}
        self.parts: dict[ImageId, bytearray] = {}
        """Images that were fetched in part."""
        self.nets: dict[NetworkId, DesiredNetwork] = {}
        self.bridges: set[str] = {"br0"}
        """Bridges that exist on the machine, for networks of kind BRIDGE."""
        self.exits_s: dict[VmId, Mapping[str, float]] = {}
        """What KVM counts of a vCPU in a second, where it is not the usual (host/sim/telemetry.py)."""
        self.busy: set[VmId] = set()
        """VMs that libvirt is busy with: what QEMU counts is not told."""
        self.deaf: set[VmId] = set()
        """Guests that ignore the power button."""
        self.move_credentials: tuple[str, str, str] | None = None
        """(CA, certificate, key) that QEMU would show in moves."""
        self.program: Callable[[VmId, Sequence[str]], tuple[float, GuestRun]] = lambda _vm_id, argv: (1.0, _ran(argv))
        """What comes of a program that is run in a guest: how many seconds it takes, and how it ends."""
        self.disk_full = False
        self.memory_full = False
        """No room for a guest that is to come."""
        self.connected = True
        self.calls: list[tuple[str, str]] = []
        """Every call of a port that acts, with the id it was about: for assertions."""
        self.facts = sim_facts()
        self.knobs = {"halt_poll_ns": "200000", "ksm": "off", "thp": "madvise", "governor": "schedutil", "cpu_dma_latency": "auto"}
        """The machine's own, and what they are now."""
        self.traits: HostTraits | None = None
        """None: nothing but the accelerator is known."""
        self._faults: dict[str, deque[HouyiError]] = defaultdict(deque)
        self._events: asyncio.Queue[MachineEvent] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.files = files
        self.address = ""
        """In the network of simulated machines."""
        self.boots = 0

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail_next(self, call: str, error: HouyiError) -> None:
        """The next call of that port method raises `error` before it does anything; several are used in turn."""
        self._faults[call].append(error)

    def lose_libvirt(self) -> None:
        self.connected = False
        self.emit(MachineEvent(vm_id=None, kind="connection_lost", detail="simulated"))

    def restore_libvirt(self) -> None:
        self.connected = True
        self.emit(MachineEvent(vm_id=None, kind="connection_back"))

    def guest_shutdown(self, vm_id: VmId) -> None:
        """The guest powers itself off."""
        self._end(vm_id, VmState.STOPPED, StateReason.GUEST_SHUTDOWN, "guest_shutdown")

    def orderly_off(self, vm_id: VmId) -> None:
        """The guest has followed the power button."""
        self._end(vm_id, VmState.STOPPED, StateReason.REQUESTED, "")

    def guest_reboot(self, vm_id: VmId) -> None:
        self.boot_again(vm_id, "guest_reboot")

    def boot_again(self, vm_id: VmId, kind: str) -> None:
        """The guest goes through its boot anew; `kind` '' if it was asked to."""
        domain = self.domains[vm_id]
        domain.booted_at = self.clock.now() + self.boot_seconds
        domain.say(b"booting\r\n")
        self.emit(MachineEvent(vm_id=vm_id, kind=kind))

    def guest_panic(self, vm_id: VmId) -> None:
        self._end(vm_id, VmState.CRASHED, StateReason.GUEST_PANIC, "guest_panic")

    def kill_qemu(self, vm_id: VmId) -> None:
        self._end(vm_id, VmState.CRASHED, StateReason.QEMU_DIED, "qemu_died")

    def io_error(self, vm_id: VmId) -> None:
        """The guest is stopped by an I/O error of its disk, until it is resumed."""
        domain = self.domains[vm_id]
        domain.state, domain.reason = VmState.PAUSED, StateReason.IO_ERROR
        self.emit(MachineEvent(vm_id=vm_id, kind="io_error", detail="vda"))

    def external_destroy(self, vm_id: VmId) -> None:
        """Somebody powers the domain off behind our back."""
        self._end(vm_id, VmState.STOPPED, StateReason.EXTERNAL, "")

    def power_cut(self) -> None:
        self.boots += 1
        self.domains = {vm_id: domain for vm_id, domain in self.domains.items() if not domain.transient}
        for domain in self.domains.values():
            domain.state, domain.reason, domain.started_at, domain.move = VmState.STOPPED, StateReason.NONE, 0.0, None
            domain.run += 1

    def emit(self, event: MachineEvent) -> None:
        self._events.put_nowait(event)

    async def next_event(self) -> MachineEvent:
        return await self._events.get()

    def enter(self, call: str, about: str, *, libvirt: bool = True) -> None:
        """Every port's method passes here first: ordered faults, then whether libvirt is there."""
        self.calls.append((call, about))
        if self._faults[call]:
            raise self._faults[call].popleft()
        if libvirt and not self.connected:
            raise Unavailable("libvirt_away", "libvirt does not answer: it is tried again by itself; look at libvirtd's log")

    def work(self, work: Coroutine[Any, Any, None]) -> None:
        """What the machine does by itself, until it ends or the machine is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def running(self, vm_id: VmId) -> SimDomain | None:
        domain = self.domains.get(vm_id)
        return domain if domain and domain.state in ON else None

    def answers(self, vm_id: VmId) -> bool:
        """Whether the guest has booted, and runs, and so its agent answers."""
        domain = self.domains.get(vm_id)
        return domain is not None and domain.state is VmState.RUNNING and self.clock.now() >= domain.booted_at

    def _end(self, vm_id: VmId, state: VmState, reason: StateReason, kind: str) -> None:
        domain = self.domains[vm_id]
        domain.state, domain.reason, domain.started_at, domain.move = state, reason, 0.0, None
        domain.run += 1
        for viewer in domain.viewers:
            viewer.put_nowait(b"")
        domain.viewers.clear()
        self.emit(MachineEvent(vm_id=vm_id, kind=kind))

    def destroy(self, vm_id: VmId) -> None:
        domain = self.domains.get(vm_id)
        if domain and (domain.state in ON or domain.state is VmState.CRASHED):
            self._end(vm_id, VmState.STOPPED, StateReason.REQUESTED, "")


def _ran(argv: Sequence[str]) -> GuestRun:
    found = argv[0] == "work"
    return GuestRun(exit_code=0 if found else 127, output="1000\n" if found else "", complaint="" if found else f"{argv[0]}: not found")


def later(sim: SimState, seconds: float, act: Callable[[], None]) -> None:
    """The machine does `act` by itself, after a while."""

    async def wait() -> None:
        await sim.clock.sleep(seconds)
        act()

    sim.work(wait())


def forget_domain(sim: SimState, vm_id: VmId, domain: SimDomain) -> None:
    """This very domain, with its guest, if it is still there."""
    if sim.domains.get(vm_id) is domain:
        sim.destroy(vm_id)
        del sim.domains[vm_id]
        sim.emit(MachineEvent(vm_id=vm_id, kind=""))


def sim_facts(hostname: str = "sim", *, cpus: int = 16, memory_mib: int = 65536, disk_gib: int = 1000, features: Iterable[str] = ()) -> HostFacts:
    """Facts of a plausible machine; assign a changed copy to `SimHost.facts`. :param features: of its CPU; none: it does not say."""
    offered = tuple(sorted(features))
    return HostFacts(
        hostname=hostname,
        boot_id="00000000-0000-4000-8000-000000000000",
        agent_version="sim",
        qemu_version="10.0.2",
        libvirt_version="11.3.0",
        kernel="6.12.0",
        cpu_model="Simulated CPU",
        cpus=cpus,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
        numa_nodes=1,
        accelerator=AcceleratorProbe(accelerator=Accelerator.QEMU, verdict="absent", reason="this machine is simulated"),
        cpu_features=offered,
        guest_cpu=GuestCpu(model="Simulated", required=offered) if offered else None,
        machine_types=("q35",),
        firmwares=("bios", "uefi"),
    )
