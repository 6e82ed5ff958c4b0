"""What has still to be told to the server: the newest observation of each VM, which of them changed, and what happened."""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Generic, TypeVar

from houyi.model.experiment import ObservedTrial
from houyi.model.host_report import HostTraits
from houyi.model.ids import ExperimentId, MigrationId, VmId
from houyi.model.line import LineAnswer
from houyi.model.migration import GuestSample, ObservedMove
from houyi.model.pool import PoolAnswer
from houyi.model.telemetry import VmRates
from houyi.model.tuning import HostTuned
from houyi.model.vm import ObservedVm
from houyi.wire.agents import Happening

HAPPENINGS_MAX = 1000
"""Kept while the server is away; older ones are dropped, since the state itself is always told."""
SAMPLES_MAX = 1000
"""As above."""
RATES_MAX = 2000
"""As above: of a hundred VMs, more than three minutes."""


K = TypeVar("K")
T = TypeVar("T")


class Loose(Generic[T]):
    """What goes with the next report, which it does not hasten; of too much the oldest is dropped. What a report that cannot be sent took is lost, which is no harm."""

    def __init__(self, most: int) -> None:
        self._waiting: deque[T] = deque(maxlen=most)

    def put(self, one: T) -> None:
        self._waiting.append(one)

    def take(self) -> tuple[T, ...]:
        """All since the last time."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken


class Standing(Generic[K, T]):
    """Answers to what is asked, all of which are in every report as long as it is."""

    def __init__(self, news: asyncio.Event) -> None:
        self._news = news
        self._answers: dict[K, T] = {}

    @property
    def answers(self) -> Mapping[K, T]:
        return MappingProxyType(self._answers)

    def put(self, asked: K, answer: T) -> None:
        self._answers[asked] = answer
        self._news.set()

    def keep(self, asked: Collection[K]) -> None:
        """Forget the others."""
        self._answers = {key: answer for key, answer in self._answers.items() if key in asked}


class Newest(Generic[T]):
    """What is told when it is new, and in every complete report; it counts as told once it was taken."""

    def __init__(self, news: asyncio.Event) -> None:
        self._news = news
        self.value: T | None = None
        self._told = True

    def put(self, value: T) -> None:
        if value != self.value:
            self.value, self._told = value, False
            self._news.set()

    def take(self, *, everything: bool) -> T | None:
        value = self.value if everything or not self._told else None
        self._told = True
        return value


class Reports:
    """Filled by the loop, emptied by the link."""

    def __init__(self) -> None:
        self._vms: dict[VmId, ObservedVm] = {}
        self._changed: set[VmId] = set()
        self._gone: set[VmId] = set()
        self._happenings: deque[Happening] = deque(maxlen=HAPPENINGS_MAX)
        self._moves: dict[MigrationId, ObservedMove] = {}
        self.samples = Loose[GuestSample](SAMPLES_MAX)
        self.rates = Loose[VmRates](RATES_MAX)
        self._pool: PoolAnswer | None = None
        self._trials: dict[ExperimentId, ObservedTrial] = {}
        self._pool_told = False
        self.news = asyncio.Event()
        self.tuned = Newest[HostTuned](self.news)
        self.lines = Standing[MigrationId, LineAnswer](self.news)
        self.traits = Newest[HostTraits](self.news)

    @property
    def vms(self) -> Mapping[VmId, ObservedVm]:
        """The newest observation of every VM on this host."""
        return MappingProxyType(self._vms)

    def put(self, observed: ObservedVm) -> None:
        if self._vms.get(observed.id) != observed:
            self._vms[observed.id] = observed
            self._changed.add(observed.id)
            self.news.set()

    @property
    def moves(self) -> Mapping[MigrationId, ObservedMove]:
        """The newest observation of every move that this host is an end of; all of them are in every report."""
        return MappingProxyType(self._moves)

    def put_move(self, observed: ObservedMove) -> None:
        before = self._moves.get(observed.id)
        if before is None or replace(before, at=observed.at) != observed:
            self._moves[observed.id] = observed
            self.news.set()

    def forget_move(self, move_id: MigrationId) -> None:
        self._moves.pop(move_id, None)

    @property
    def trials(self) -> Mapping[ExperimentId, ObservedTrial]:
        """Of every experiment that is asked for here the last trial that is over; all of them are in every report."""
        return MappingProxyType(self._trials)

    def put_trial(self, trial: ObservedTrial) -> None:
        self._trials[trial.experiment_id] = trial
        self.news.set()

    def forget_trial(self, experiment_id: ExperimentId) -> None:
        self._trials.pop(experiment_id, None)

    def gone(self, vm_id: VmId) -> None:
        """Nothing is left of it; told until the server stops asking for its deletion."""
        self._vms.pop(vm_id, None)
        self._changed.discard(vm_id)
        if vm_id not in self._gone:
            self._gone.add(vm_id)
            self.news.set()

    def forget(self, vm_id: VmId) -> None:
        self._vms.pop(vm_id, None)
        self._changed.discard(vm_id)
        self._gone.discard(vm_id)

    def happened(self, happening: Happening) -> None:
        self._happenings.append(happening)
        self.news.set()

    @property
    def pool(self) -> PoolAnswer | None:
        """What was answered last to this host's pool."""
        return self._pool

    def put_pool(self, answer: PoolAnswer) -> None:
        self._pool, self._pool_told = answer, False
        self.news.set()

    def take_pool(self, *, everything: bool) -> PoolAnswer | None:
        """What to send of it now; it counts as told, as in `take`."""
        answer = self._pool if everything or not self._pool_told else None
        self._pool_told = True
        return answer

    def take(self, *, everything: bool) -> tuple[tuple[ObservedVm, ...], tuple[VmId, ...], tuple[Happening, ...]]:
        """What to send now; it counts as told (a link that breaks is followed by a complete report)."""
        ids = set(self._vms) if everything else self._changed
        vms = tuple(self._vms[vm_id] for vm_id in sorted(ids))
        happenings = tuple(self._happenings)
        self._changed = set()
        self._happenings.clear()
        self.news.clear()
        return vms, tuple(sorted(self._gone)), happenings

    def give_back(self, happenings: tuple[Happening, ...]) -> None:
        """They could not be sent. The newest are kept."""
        self._happenings = deque((*happenings, *self._happenings), maxlen=HAPPENINGS_MAX)
