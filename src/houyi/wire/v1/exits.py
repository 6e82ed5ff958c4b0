"""VM exits by reason, as JSON."""

from pydantic import Field

from houyi.model.exits import TRACE_SECONDS_MAX, Virtualization
from houyi.model.exits import ExitProfile as ModelProfile
from houyi.model.tuning import Symptom
from houyi.wire.v1.shape import Asked, Id, Number, Shown, Time, rfc3339


class VmExitsAsk(Asked):
    """For how long to look."""

    seconds: Number = Field(10.0, ge=0.1, le=TRACE_SECONDS_MAX, description="The answer comes after this long.")


class ExitReason(Shown):
    reason: str = Field(description="As the kernel calls it, which is another way on AMD's processors than on Intel's.")
    count: int
    count_s: float = Field(description="A second.")
    outside_ns: int = Field(description="Sum, from each exit until the guest ran again; of a halt that is how long the vCPU slept.")
    mean_ns: float


class RegisterUse(Shown):
    register_use: str = Field(description="'write tsc_deadline': how and which; registers without a known name as numbers.")
    count: int
    count_s: float


class VmExits(Shown):
    """What made a VM exit, the most frequent first."""

    vm_id: Id
    vm_name: str
    began_at: Time
    seconds: float
    virtualization: Virtualization
    count: int
    count_s: float
    reasons: list[ExitReason]
    registers: list[RegisterUse] = Field(description="Model-specific registers that the guest used, where that made it exit.")
    symptoms: dict[Symptom, float] = Field(description="What the exits are about, a second: what knobs of `houyi tune` address.")
    dropped: int = Field(description="Exits of the host that found no place in the kernel's table; if there are any, this is not all.")


def show_exits(one: ModelProfile, vm_name: str, symptoms: dict[Symptom, float]) -> VmExits:
    def rate(count: int) -> float:
        return round(count / one.seconds, 3)

    return VmExits(
        vm_id=one.vm_id,
        vm_name=vm_name,
        began_at=rfc3339(one.began_at),
        seconds=round(one.seconds, 6),
        virtualization=one.virtualization,
        count=one.count,
        count_s=rate(one.count),
        reasons=[
            ExitReason(
                reason=name, count=spent.count, count_s=rate(spent.count), outside_ns=spent.ns, mean_ns=round(spent.ns / spent.count, 1) if spent.count else 0.0
            )
            for name, spent in one.reasons.items()
        ],
        registers=[RegisterUse(register_use=name, count=count, count_s=rate(count)) for name, count in one.msrs.items()],
        symptoms={symptom: round(found, 3) for symptom, found in symptoms.items()},
        dropped=one.dropped,
    )
