"""A complete simulated machine: every port, in memory, on an injected clock; with faults to order.

    sim = SimHost(clock, boot_seconds=3); ports = sim.ports()
    sim.fail_next("start", Failed("libvirt_failed", "..."))        the next call of that name fails so
    sim.lose_libvirt(); sim.restore_libvirt()                      what needs libvirt raises Unavailable in between
    sim.guest_shutdown(vm_id), guest_reboot, guest_panic, kill_qemu, io_error: what guests do by themselves
    sim.power_cut(): every domain is off, as after a reboot of the host; files and definitions stay

It passes the contract suite of the real machine (tests/contract). Nothing here sleeps in real time: what takes time waits on the clock.
"""

from houyi.host.port import Ports
from houyi.host.sim.mover import SimMover, SimPassages
from houyi.host.sim.net import SimNet
from houyi.host.sim.ports import SimConsoles, SimDisks, SimGuests, SimMachine, SimNetworks, SimProbe
from houyi.host.sim.state import SimState, sim_facts

__all__ = ["SimHost", "SimNet", "sim_facts"]


class SimHost(SimState):
    """One simulated machine: its state, its faults, its ports."""

    net: SimNet | None = None

    def join(self, net: SimNet, address: str) -> None:
        """Be reached by other simulated machines, at `address`."""
        self.net, self.address = net, address
        net.machines[address] = self

    def ports(self) -> Ports:
        return Ports(
            machine=SimMachine(self),
            guests=SimGuests(self),
            disks=SimDisks(self),
            networks=SimNetworks(self),
            consoles=SimConsoles(self),
            probe=SimProbe(self),
            mover=SimMover(self, self.net),
            passages=SimPassages(),
            files=self.files,
            close=self.close,
        )
