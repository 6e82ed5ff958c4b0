"""What may be tried in an experiment, and within which bounds. Pure."""

from houyi.model.errors import Conflict, Invalid
from houyi.model.experiment import Workload
from houyi.model.host import HostFacts
from houyi.model.tuning import Takes
from houyi.model.vm import VmSpec
from houyi.planning.tuning.knobs import BY_NAME
from houyi.planning.tuning.resolve import in_force, refused, vm_settings
from houyi.planning.tuning.series import BLOCK, BLOCKS_MIN, WARM_UP

SECONDS = (1.0, 3600.0)
"""Of one run: shorter ones count too little, longer ones make a series of a day."""
SETTLE_SECONDS_MAX = 600.0
RUNS_MIN = len(WARM_UP) + len(BLOCK) * BLOCKS_MIN
RUNS_MAX = 202
ARGUMENTS_MAX = 64
ARGUMENTS_CHARACTERS_MAX = 16 << 10
"""Of all arguments together: they travel with every snapshot of the host while a run is under way."""


def blocks_of(runs: int) -> int:
    """How many blocks that many runs are at most. :raise Invalid: `runs_invalid`."""
    if not RUNS_MIN <= runs <= RUNS_MAX:
        raise Invalid("runs_invalid", f"an experiment has {RUNS_MIN} to {RUNS_MAX} runs (2 to warm up, then 4 for each block), not {runs}")
    return (runs - len(WARM_UP)) // len(BLOCK)


def check_workload(workload: Workload, settle_seconds: float) -> None:
    """:raise Invalid: `workload_invalid`."""
    low, high = SECONDS
    if not low <= workload.seconds <= high:
        raise Invalid("workload_invalid", f"a run takes {low:.0f} to {high:.0f} seconds, not {workload.seconds:g}")
    if not 0 <= settle_seconds <= SETTLE_SECONDS_MAX:
        raise Invalid("workload_invalid", f"a guest is left to settle for 0 to {SETTLE_SECONDS_MAX:.0f} seconds")
    if len(workload.argv) > ARGUMENTS_MAX or sum(map(len, workload.argv)) > ARGUMENTS_CHARACTERS_MAX:
        raise Invalid(
            "workload_invalid", f"a command has at most {ARGUMENTS_MAX} arguments of {ARGUMENTS_CHARACTERS_MAX} characters together: put the rest into a file"
        )
    if workload.argv and not workload.argv[0].strip():
        raise Invalid("workload_invalid", "a command begins with the name of a program in the guest: it is started without a shell")


def may_try(before: VmSpec, after: VmSpec, facts: HostFacts | None, *, restart: bool) -> None:
    """Whether there is anything to try on this host, and whether it can be done without stopping the VM.

    :raise Conflict: `nothing_to_try`, `knob_refused`, `restart_needed`: with the knobs that take effect at a start only.
    """
    now, then = vm_settings(before, facts), vm_settings(after, facts)
    lacking = refused(then)
    if lacking is not None:
        raise Conflict("knob_refused", f"{lacking.knob}={lacking.value} cannot be had on the VM's host: {lacking.why_not}")
    holds, would_hold = in_force(now), in_force(then)
    changed = {name for name in holds.keys() | would_hold.keys() if _value(holds, name) != _value(would_hold, name)}
    if not changed:
        left_out = "; ".join(f"{setting.knob}: {setting.why_not}" for setting in then if setting.why_not)
        raise Conflict(
            "nothing_to_try", f"on the VM's host the change would change nothing{f' ({left_out})' if left_out else ''}: name another profile or knob"
        )
    at_start = sorted(name for name in changed if BY_NAME[name].takes is not Takes.LIVE)
    if at_start and not restart:
        raise Conflict(
            "restart_needed",
            f"{', '.join(at_start)} take{'s' if len(at_start) == 1 else ''} effect at a start only, so the VM would be stopped and started before every other run: "
            "allow it (`--restart`), or try what can be changed while it runs",
            knobs=at_start,
        )


def _value(settings: dict[str, str], name: str) -> str:
    return settings.get(name, BY_NAME[name].default)
