"""The choice: filters one after another, then the best sum of weighted scores; or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from houyi.model.host import Host
from houyi.model.ids import HostId
from houyi.model.resources import Amounts
from houyi.planning.placement.filters import FILTERS, Fleet, Request
from houyi.planning.placement.scores import SCORES


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`host_id` None: nobody can take it; `removed` says which filter took out how many hosts."""

    host_id: HostId | None
    removed: Mapping[str, int]
    scores: Mapping[HostId, Mapping[str, float]]
    """Weighted score by name, for every host that passed the filters."""
    left: Amounts
    """The most that is free of each class asked for on any one ready host (largest by memory): what 'no capacity' shows."""

    @property
    def why_not(self) -> str:
        """One sentence: which filter removed how many."""
        reasons = {f.name: f.why_not for f in FILTERS}
        parts = [f"{count} host{'s' if count > 1 else ''}: {reasons[name]}" for name, count in self.removed.items() if count]
        return "; ".join(parts) if parts else "there is no host"


def limits(host: Host, *, vcpu: float, memory: float, disk: float, memory_reserved_mib: int) -> dict[str, int]:
    """What may be claimed on a host: capacity times the overcommit ratio of its class; classes without one are never overcommitted."""
    ratio = {"vcpu": vcpu, "memory_mib": memory, "disk_gib": disk}
    room = dict(host.capacity)
    room["memory_mib"] = max(0, room.get("memory_mib", 0) - memory_reserved_mib)
    return {name: int(amount * ratio.get(name, 1.0)) for name, amount in room.items()}


def choose(fleet: Fleet, request: Request) -> Choice:
    """Deterministic: among equals, the host that is first by id."""
    alive = np.ones(len(fleet.hosts), dtype=bool)
    removed: dict[str, int] = {}
    for one in FILTERS:
        kept = alive & one.keeps(fleet, request)
        removed[one.name] = int(alive.sum() - kept.sum())
        alive = kept
    kept_rows = [int(i) for i in np.flatnonzero(alive)]
    ratings = {score.name: score.weight * score.rate(fleet, request) for score in SCORES}
    total = np.sum(list(ratings.values()), axis=0) if len(fleet.hosts) else np.zeros(0)
    scores = {fleet.hosts[i].id: {name: round(float(rating[i]), 4) for name, rating in ratings.items()} for i in kept_rows}
    best = min(kept_rows, key=lambda i: (-total[i], fleet.hosts[i].id), default=None)
    return Choice(host_id=None if best is None else fleet.hosts[best].id, removed=removed, scores=scores, left=_left(fleet, request))


def _left(fleet: Fleet, request: Request) -> dict[str, int]:
    ready = FILTERS[0].keeps(fleet, request)
    left = {}
    for resource in request.asked:
        free = (fleet.limit(resource) - fleet.claimed(resource))[ready]
        left[resource] = int(free.max()) if free.size else 0
    return left
