"""A complete simulated machine: every port, in memory, on an injected clock; with faults to order.

    sim = SimHost(clock, boot_seconds=3); ports = sim.ports()
    sim.fail_next("start", Failed("libvirt_failed", "..."))        the next call of that name fails so
    sim.lose_libvirt(); sim.restore_libvirt()                      what needs libvirt raises Unavailable in between
    sim.guest_shutdown(vm_id), guest_reboot, guest_panic, kill_qemu, io_error: what guests do by themselves
    sim.share("fast", storage): a folder that every machine sees that is given the same SimStorage
    sim.join(net, "a"): moves to and from the others of `net`, whose links break to order
    sim.power_cut(): every domain is off, as after a reboot of the host; files and definitions stay

It passes the contract suite of the real machine (tests/contract). Nothing here sleeps in real time: what takes time waits on the clock.
"""

from dataclasses import replace
from pathlib import Path

from houyi.base.clock import Clock
from houyi.host.port import Ports
from houyi.host.sim.carrier import SimCarrier
from houyi.host.sim.job import SimJob
from houyi.host.sim.mover import SimMover, SimPassages
from houyi.host.sim.net import SimNet
from houyi.host.sim.ports import SimConsoles, SimDisks, SimGuests, SimMachine, SimNetworks, SimProbe
from houyi.host.sim.state import SimState, SimStorage, sim_facts
from houyi.host.sim.telemetry import SimTelemetry, SimTracing
from houyi.host.sim.tuner import SimLiveKnobs, SimTuner
from houyi.model.ids import VmId

__all__ = ["SimHost", "SimNet", "SimStorage", "sim_facts"]


class SimHost(SimState):
    """One simulated machine: its state, its faults, its ports."""

    def __init__(
        self, clock: Clock, *, boot_seconds: float = 3.0, shutdown_seconds: float = 1.0, fetch_seconds: float = 0.0, files: Path = Path("/sim")
    ) -> None:
        super().__init__(clock, boot_seconds=boot_seconds, shutdown_seconds=shutdown_seconds, fetch_seconds=fetch_seconds, files=files)
        self.net: SimNet | None = None
        self.jobs: dict[VmId, SimJob] = {}
        """The newest move of each VM from here."""

    def join(self, net: SimNet, address: str) -> None:
        """Be reached by other simulated machines, at `address`."""
        self.net, self.address = net, address
        net.machines[address] = self

    def share(self, name: str, storage: SimStorage) -> None:
        """See a folder that others see as well, under this name."""
        self.shared[name] = storage
        self.facts = replace(self.facts, storages={name: one.id for name, one in self.shared.items()})

    def ports(self) -> Ports:
        return Ports(
            machine=SimMachine(self),
            guests=SimGuests(self),
            disks=SimDisks(self),
            networks=SimNetworks(self),
            consoles=SimConsoles(self),
            probe=SimProbe(self),
            mover=SimMover(self, self.net, self.jobs),
            carrier=SimCarrier(self),
            passages=SimPassages(),
            telemetry=SimTelemetry(self),
            tracing=SimTracing(self),
            tuner=SimTuner(self),
            live_knobs=SimLiveKnobs(self),
            files=self.files,
            close=self.close,
        )
