"""Who watches the machines themselves, and believes nobody's records: no claim, no report, no state of a migration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from houyi.host.sim import SimHost
from houyi.model.ids import VmId


class Watched(Protocol):
    name: str
    sim: SimHost


@dataclass(eq=False)
class Witness:
    """`look()` at every step of the loop; `verdict()` raises what it has seen.

    1. A guest executes on one machine at most.
    2. Where it begins to execute, its disk is as the guest left it last, wherever that was: no older copy, and not its image again.
    3. A machine that executes it at an epoch is the only one that ever does, and epochs never go back.
    """

    machines: Mapping[str, Watched]
    violations: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = lambda _: None
    """Told of what it sees."""
    begun: int = 0
    """How often any guest has begun to execute."""
    _on: dict[VmId, tuple[str, int]] = field(default_factory=dict)
    _marks: dict[VmId, int] = field(default_factory=dict)
    _epochs: dict[VmId, tuple[int, str]] = field(default_factory=dict)

    def look(self) -> None:
        on: dict[VmId, tuple[str, int]] = {}
        for name, machine in self.machines.items():
            for vm_id, domain in machine.sim.domains.items():
                if not domain.executes:
                    continue
                if vm_id in on:
                    self._say(f"VM {vm_id} executes on {on[vm_id][0]} and {name}")
                on[vm_id] = (name, domain.run)
                if vm_id not in machine.sim.disks:
                    self._say(f"VM {vm_id} executes on {name} without its disk")
        if on != self._on:
            for vm_id, where in on.items():
                if self._on.get(vm_id) != where:
                    self._begins(vm_id, where[0])
            self._on = on

    def _begins(self, vm_id: VmId, name: str) -> None:
        self.begun += 1
        sim = self.machines[name].sim
        written = sim.on[vm_id].written if vm_id in sim.on else sim.written
        mark, newest = written.get(vm_id, 0), self._marks.get(vm_id, 0)
        if mark != newest:
            self._say(f"VM {vm_id} begins on {name} with a disk that was written {newest - mark} lives ago")
        self._marks[vm_id] = written[vm_id] = newest + 1
        epoch = sim.domains[vm_id].vm.epoch
        before, where = self._epochs.get(vm_id, (0, name))
        if epoch < before or (epoch == before and where != name):
            self._say(f"VM {vm_id} begins on {name} at epoch {epoch}, after it ran on {where} at epoch {before}")
        self._epochs[vm_id] = (epoch, name)
        self.tell(f"VM {vm_id} executes on {name} at epoch {epoch}")

    def bury(self, name: str) -> None:
        """This machine is lost for good, and so is what was written there last."""
        for vm_id in [vm_id for vm_id, (_, where) in self._epochs.items() if where == name]:
            del self._epochs[vm_id]
            found = [machine.sim.written.get(vm_id, 0) for other, machine in self.machines.items() if other != name]
            self._marks[vm_id] = max(found, default=0)

    def _say(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)

    def verdict(self) -> None:
        """:raise AssertionError: something that may never be was."""
        assert not self.violations, "; ".join(self.violations)
