"""What the agent may ask of a machine's knobs. The real machine and the simulated one pass the same contract tests."""

from collections.abc import Mapping
from typing import Protocol

from houyi.model.ids import VmId

Before = Mapping[str, str]
"""What was there before a knob was set, in the lever's own words: for `restore` only."""


class Tuner(Protocol):
    """The machine's own knobs: host knobs of `planning.tuning`."""

    async def read(self) -> Mapping[str, str]:
        """Every knob that this machine has, with its value now; a value that is none of the knob's is said as it is."""
        ...

    async def before(self, knob: str) -> Before:
        """What `restore` will need; asked and written down before the first `set`. :raise Failed: `knob_missing`, `tuning_failed`."""
        ...

    async def set(self, knob: str, value: str) -> None:
        """Have it so; what is so already is not touched. :raise Invalid: `knob_value_invalid`. :raise Failed: `knob_missing`, `tuning_failed`."""
        ...

    async def restore(self, knob: str, before: Before) -> None:
        """Put back what was there. What this machine no longer has is left. :raise Failed: `tuning_failed`."""
        ...


class LiveKnobs(Protocol):
    """Knobs of VMs that can be turned while the guest runs."""

    async def turn(self, vm_id: VmId, settings: Mapping[str, str]) -> None:
        """Have the running guest so; it then reads back so. :raise Conflict: `not_running`. :raise Failed: the hypervisor refused. :raise Unavailable: libvirt is away."""
        ...
