"""Exits of one VM by reason, with the time spent outside the guest, over a bounded time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.ids import VmId

TRACE_SECONDS_MAX = 60.0
"""Longer than that nobody's exits are traced: looking costs the traced VMs about a microsecond an exit."""


class Virtualization(StrEnum):
    """Whose; it decides what reasons there are."""

    SVM = "svm"
    VMX = "vmx"


@dataclass(frozen=True, slots=True)
class Spent:
    count: int
    ns: int
    """From the exit until the guest ran again; of a halt that is how long it slept. 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitProfile:
    vm_id: VmId
    began_at: float
    """Unix seconds."""
    seconds: float
    virtualization: Virtualization
    reasons: Mapping[str, Spent]
    """As the kernel calls them, which is another way on AMD's processors than on Intel's."""
    msrs: Mapping[str, int] = field(default_factory=dict)
    """Which model-specific registers the guest used, where that made it exit: 'write tsc_deadline' -> how often."""
    dropped: int = 0
    """Exits of the host that found no place in the kernel's table: if there are any, this profile is not all."""

    @property
    def count(self) -> int:
        return sum(one.count for one in self.reasons.values())
