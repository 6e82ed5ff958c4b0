"""From what a host counted and a workload said during a trial to the values that are compared; and which of them decide. Pure.

What a host counts has the names of `planning.telemetry.flat` (`cpu_seconds`: of the host's CPUs, by QEMU; `vcpu_delay_seconds`: vCPUs could have run and had no CPU;
`exits`: all VM exits; KVM's other statistics by the kernel's names), each as what came on in the trial, beside `vcpus` and, where they were traced, `reason:<name>`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from houyi.model.experiment import ObservedTrial, Workload
from houyi.model.series import Arm, Measure, Run

SAID_MAX = 32
"""Figures that a workload may say."""
NAME_MAX = 64
DIGITS = 6
"""That a value keeps: more is noise, and all runs of an experiment are in one record."""
_DEVICES = ("disk_", "nic_")

COMMAND: tuple[Measure, ...] = (
    Measure(name="exits_per_work", unit="VM exits per unit of work", floor=1e-6),
    Measure(name="cpu_per_work", unit="CPU seconds per unit of work", floor=1e-9),
    Measure(name="work_per_second", unit="units of work a second", less_is_better=False, matters=0.03, floor=1e-9),
    Measure(name="steal", unit="share of the time", matters=0.25, floor=0.002),
)
"""In order: the first that is there is the main one. What a command does may vary with its speed, so everything is per unit of its work."""
OBSERVED: tuple[Measure, ...] = (
    Measure(name="exits_per_second", unit="VM exits a second", floor=0.1),
    Measure(name="cpu", unit="CPUs of the host", floor=0.001),
    Measure(name="steal", unit="share of the time", matters=0.25, floor=0.002),
)
"""As above; what goes on in the guest is taken to be the same in all runs."""
LATENCY = Measure(name="latency", unit="as the workload says", matters=0.1)
"""Every figure that a workload says whose name begins so is compared: tails of latencies vary more than counts."""


def run_of(arm: Arm, workload: Workload, trial: ObservedTrial) -> Run:
    """The values of a trial that counts. What was not counted or not said has no value; a command that says no work has done one unit."""
    counted, said, seconds = trial.counted, trial.said, trial.seconds
    values: dict[str, float] = {f"said:{name}": value for name, value in said.items()}
    if seconds > 0:
        values["seconds"] = seconds
        work = said.get("work", 1.0) if workload.argv else 0.0
        values |= dict(_rates(counted, seconds, work))
        if work > 0:
            values["work_per_second"] = work / seconds
        if counted.get("vcpus", 0.0) > 0 and "vcpu_delay_seconds" in counted:
            values["steal"] = counted["vcpu_delay_seconds"] / (counted["vcpus"] * seconds)
    values |= {name: value for name, value in said.items() if name.startswith(LATENCY.name)}
    return Run(arm=arm, values={name: float(f"{value:.{DIGITS}g}") for name, value in values.items() if math.isfinite(value) and value >= 0})


def _rates(counted: Mapping[str, float], seconds: float, work: float) -> Iterator[tuple[str, float]]:
    for name, count in counted.items():
        if name == "vcpus" or (name.startswith(_DEVICES) and not count):
            continue
        short = "cpu" if name == "cpu_seconds" else name
        if work > 0:
            yield f"{short}_per_work", count / work
        if work <= 0 or name in ("exits", "cpu_seconds"):
            yield "cpu" if short == "cpu" else f"{short}_per_second", count / seconds


def chosen(workload: Workload, main: str, warm_up: Sequence[Run]) -> tuple[Measure, ...]:
    """What is compared, the main one first: what every warm-up run has. Exits by reason are shown, not compared: each more measure makes all the others harder to tell.

    :param main: what the user wants to decide by, any value of a run; '': the most telling. Empty result: it (or anything) was not measured.
    """
    there = set.intersection(*(set(run.values) for run in warm_up)) if warm_up else set()
    table = COMMAND if workload.argv else OBSERVED
    found = [measure for measure in table if measure.name in there]
    found += [replace(LATENCY, name=name) for name in sorted(there) if name.startswith(LATENCY.name)]
    if not main:
        return tuple(found)
    if main not in there:
        return ()
    first = next((measure for measure in found if measure.name == main), Measure(name=main))
    return (first, *(measure for measure in found if measure.name != main))


def words_of(output: str) -> Mapping[str, float]:
    """What a workload says in its last line: a number (the work that it has done), or a JSON object of numbers, which may have objects of numbers in it.

    `{"work": 1000, "latency_us": {"p50": 80, "p99": 410}}` is `work`, `latency_us:p50` and `latency_us:p99`. Anything else says nothing.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    try:
        said = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        return {}
    figures = dict(_flat("", said)) if isinstance(said, dict) else dict(_flat("work", said))
    return {name: value for name, value in list(figures.items())[:SAID_MAX] if len(name) <= NAME_MAX and name.isprintable()}


def _flat(name: str, value: object) -> Iterator[tuple[str, float]]:
    match value:
        case bool():
            return
        case int() | float():
            try:
                figure = float(value)
            except OverflowError:
                return
            if math.isfinite(figure) and figure >= 0:
                yield name, figure
        case dict():
            for key, inner in value.items():
                if not isinstance(inner, dict) or not name:
                    yield from _flat(f"{name}:{key}" if name else str(key), inner)
        case _:
            return
