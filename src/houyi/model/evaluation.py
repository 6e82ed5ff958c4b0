"""An evaluation: one run of the suite, in which the same programs are measured on the machine, in a container and in VMs (docs/rfd/0003-see-and-tune.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from houyi.model.errors import Invalid


class PlaceKind(StrEnum):
    MACHINE = "machine"
    """The programs run on the machine itself."""
    CONTAINER = "container"
    """In namespaces and a control group of their own, with as many CPUs and as much memory as the VMs."""
    VM = "vm"


@dataclass(frozen=True, slots=True)
class Place:
    """Where benchmarks run."""

    kind: PlaceKind
    profile: str = ""
    """Of a VM: its tuning profile; empty: it is not tuned."""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.profile}" if self.profile else str(self.kind)


def places_of(text: str) -> tuple[Place, ...]:
    """'machine,container,vm,vm:latency' in that order. :raise Invalid: `place_unknown`."""
    found: dict[Place, None] = {}
    for word in (part.strip() for part in text.split(",")):
        kind, colon, profile = word.partition(":")
        if kind not in set(PlaceKind) or (colon and (kind != PlaceKind.VM or not profile)):
            raise Invalid("place_unknown", f"{word[:64]!r} is no place for benchmarks: name machine, container, vm or vm:PROFILE, with commas between them")
        found[Place(PlaceKind(kind), profile)] = None
    return tuple(found)


class Better(StrEnum):
    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run of a benchmark came to."""

    value: float
    """In the benchmark's unit; above 0, finite."""
    work_s: float = 0.0
    """Operations a second meanwhile; 0: they are not counted."""
    also: Mapping[str, float] = field(default_factory=dict)
    """What the program said besides: 'p99_us' ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run, or its failure: one of `measured` and `error` is there."""

    benchmark: str
    place: str
    round: int
    """From 1."""
    seconds: float
    """How long it took, by this machine's clock."""
    measured: Measured | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitCount:
    """VM exits during one more run of a benchmark, which counts for nothing else."""

    benchmark: str
    place: str
    exits_s: float = 0.0
    per_operation: float = 0.0
    reasons: Mapping[str, float] = field(default_factory=dict)
    """Exits an operation, by reason."""
    error: str = ""


class Standing(StrEnum):
    """A place beside the place that it is compared with."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no_difference"
    """None that could be told."""
    UNKNOWN = "unknown"
    """Too few rounds in which both were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One benchmark in one place, beside the reference."""

    benchmark: str
    place: str
    reference: str
    rounds: int
    """In which both were measured."""
    ratio: float | None = None
    """How many times as good as in the reference, whether more or less of the unit is better: geometric mean over rounds. None: never measured in both."""
    low: float | None = None
    """95 % interval of the ratio; None: too few rounds for one."""
    high: float | None = None
    p: float = 1.0
    """Of a difference that does not matter, the chance to look like this or more so; adjusted for all comparisons of the report (Holm)."""
    standing: Standing = Standing.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFacts:
    """A place as it was measured."""

    name: str
    kind: PlaceKind
    profile: str
    cpus: int
    memory_mib: int
    what: str
    """One sentence."""
    accelerator: str = ""
    """Of a VM: kvm, or qemu where it is emulated."""
    tuned: Mapping[str, str] = field(default_factory=dict)
    """Of a VM: settings that it ran with, where they are not the default, as read back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFacts:
    """A benchmark as it was run."""

    name: str
    group: str
    unit: str
    better: Better
    work: str
    shows: str
    command: str
    """With what differs from place to place as {peer} and {port}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A whole run: what report.json holds, field by field."""

    format: int
    """Of this shape: 1."""
    version: str
    """Of Houyi."""
    id: str
    host: str
    """The host of the cloud that its VMs were on; empty: there were none."""
    began_at: str
    """RFC 3339, UTC."""
    ended_at: str
    seed: int
    """Of the random order."""
    seconds: int
    """That a program is asked to run."""
    rounds: int
    quick: bool
    emulated: str
    """Why times say nothing about hardware here; empty: they do."""
    machine: Mapping[str, str]
    """What describes it: name to value."""
    reference: str
    """The place that others are compared with."""
    places: tuple[PlaceFacts, ...]
    benchmarks: tuple[BenchmarkFacts, ...]
    samples: tuple[Sample, ...]
    comparisons: tuple[Comparison, ...]
    exits: tuple[ExitCount, ...]
    exits_why: str
    """Why none were counted; empty: they were."""
