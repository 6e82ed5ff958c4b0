"""The choice: filters one after another, then the best sum of weighted scores; or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from houyi.model.host import Host
from houyi.model.ids import HostId
from houyi.model.resources import MEMORY_MIB, Amounts, in_words
from houyi.planning.placement.filters import FILTERS
from houyi.planning.placement.fleet import Fleet, Mask, Request
from houyi.planning.placement.numa import BY_NODE, at, base_of, fitted, nodes_of, on_nodes
from houyi.planning.placement.scores import SCORES, Rating

_FIXED = tuple(one for one in FILTERS if one.fixed)
_MOVING = tuple(one for one in FILTERS if not one.fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What became of one host."""

    host_id: HostId
    host_name: str
    removed_by: str
    """Name of the filter that took it out; '' if none did."""
    why: str
    """Why it did; '' if none did."""
    scores: Mapping[str, float]
    """Weighted score by name; empty if it was taken out."""
    total: float
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`host_id` None: nobody can take it; `removed` says which filter took out how many hosts."""

    host_id: HostId | None
    removed: Mapping[str, int]
    left: Amounts
    """The most that is free of each class asked for on any one ready host: what 'no capacity' shows."""
    amounts: Amounts
    """What the VM claims there, parts of NUMA nodes included; what was asked while there is no host."""
    numa_nodes: tuple[int, ...] = ()
    """The nodes that it was fitted to; empty on a host with one node."""
    fleet: Fleet = field(repr=False)
    request: Request = field(repr=False)
    packing: float = field(repr=False)
    out: NDArray[np.int8] = field(repr=False)
    """Of each host: which of FILTERS took it out, -1 if none."""
    taken: int = field(repr=False)

    @property
    def why_not(self) -> str:
        """One sentence: which filter removed how many."""
        reasons = {one.name: one.why_not for one in FILTERS}
        parts = [f"{count} host{'s' if count > 1 else ''}: {reasons[name]}" for name, count in self.removed.items() if count]
        return "; ".join(parts) if parts else "there is no host"

    @property
    def no_capacity(self) -> str:
        """The same with what was asked and the most that is left: what people are told."""
        return f"{self.why_not}; asked {in_words(self.request.asked)}, left at most {in_words(self.left)}"

    @cached_property
    def scores(self) -> Mapping[HostId, Mapping[str, float]]:
        """Weighted score by name, for every host that passed the filters."""
        return {look.host_id: look.scores for look in self.table() if not look.removed_by}

    def table(self) -> tuple[Look, ...]:
        """Every host once: those that can take it, the best first, then the others by what took them out.

        :raise RuntimeError: the fleet has moved on (`Fleet.take`), so that the reasons are no longer those of this choice.
        """
        if self.fleet.taken != self.taken:
            raise RuntimeError("a choice explains itself before the fleet takes the next VM")
        ratings = {score.name: _weight(score.name, score.weight, self.packing) * score.rate(self.fleet, self.request) for score in SCORES}
        ranked = [(self._look(row, ratings), int(self.out[row])) for row in range(self.fleet.size)]
        ranked.sort(key=lambda one: (one[1], -one[0].total, not one[0].chosen, one[0].host_id))
        return tuple(look for look, _ in ranked)

    def _look(self, row: int, ratings: Mapping[str, Rating]) -> Look:
        host, out = self.fleet.hosts[row], int(self.out[row])
        scores = {} if out >= 0 else {name: round(float(rating[row]), 4) for name, rating in ratings.items()}
        return Look(
            host_id=host.id,
            host_name=host.name,
            removed_by="" if out < 0 else FILTERS[out].name,
            why="" if out < 0 else FILTERS[out].why(self.fleet, self.request, row),
            scores=scores,
            total=round(sum(scores.values()), 4),
            chosen=host.id == self.host_id,
        )


def limits(host: Host, ratios: Mapping[str, float], memory_reserved_mib: int) -> dict[str, int]:
    """What may be claimed on a host: capacity times the overcommit ratio of its class; classes without one are never overcommitted.

    Nodes have their class's ratio, and bear what is reserved in proportion to their memory.
    """
    room = dict(host.capacity)
    total = max(1, room.get(MEMORY_MIB, 0))
    nodes = nodes_of(room)
    for name in (MEMORY_MIB, *(at(MEMORY_MIB, node) for node in nodes)):
        amount = room.get(name, 0)
        room[name] = max(0, amount - (memory_reserved_mib if name == MEMORY_MIB else -(-memory_reserved_mib * amount // total)))
    return {name: int(amount * ratios.get(base_of(name), 1.0)) for name, amount in room.items()}


def choose(fleet: Fleet, request: Request, *, packing: float = 0.0) -> Choice:
    """Deterministic, in whatever order the hosts were given: among equals, the host that is first by id.

    :param packing: weight of the score of that name.
    """
    out = _filtered(fleet, request)
    best = _best(fleet, request, out < 0, packing)
    counts = np.bincount(out + 1, minlength=len(FILTERS) + 1)
    nodes = () if best is None else _nodes(fleet, best, request)
    return Choice(
        host_id=None if best is None else fleet.hosts[best].id,
        removed={one.name: int(count) for one, count in zip(FILTERS, counts[1:], strict=True)},
        left=_left(fleet, request),
        amounts=on_nodes(request.asked, nodes),
        numa_nodes=nodes,
        fleet=fleet,
        request=request,
        packing=packing,
        out=out,
        taken=fleet.taken,
    )


def _filtered(fleet: Fleet, request: Request) -> NDArray[np.int8]:
    """Of each host the number of the filter that takes it out first, -1 if none does."""
    out = _by_fixed(fleet, request).copy()
    alive: Mask = out < 0
    for number, one in enumerate(_MOVING, len(_FIXED)):
        keeps = one.keeps(fleet, request)
        out[alive & ~keeps] = number
        alive &= keeps
    return out


def _by_fixed(fleet: Fleet, request: Request) -> NDArray[np.int8]:
    """The same by the fixed filters alone, found once for all requests that differ in nothing that these look at."""
    key = (
        request.among,
        request.accelerator,
        request.firmware,
        tuple(sorted(request.labels.items())),
        request.storage,
        request.cpu_model,
        request.cpu_features,
        tuple(sorted(request.knobs.items())),
        request.pool_id,
        request.asked.get("vcpu", 0),
    )
    found = fleet.remembered.get(key)
    if isinstance(found, np.ndarray):
        return found
    out = np.full(fleet.size, -1, dtype=np.int8)
    for number, one in enumerate(_FIXED):
        out[(out < 0) & ~one.keeps(fleet, request)] = number
    fleet.remembered[key] = out
    return out


def _weight(name: str, weight: float, packing: float) -> float:
    return packing if name == "packing" else weight


def _best(fleet: Fleet, request: Request, alive: Mask, packing: float) -> int | None:
    if not alive.any():
        return None
    total = np.zeros(fleet.size)
    for score in SCORES:
        weight = _weight(score.name, score.weight, packing)
        if weight and not (score.of_group and request.group is None):
            total += weight * score.rate(fleet, request)
    total[~alive] = -1.0
    return int(total.argmax())


def _nodes(fleet: Fleet, row: int, request: Request) -> tuple[int, ...]:
    nodes = nodes_of(fleet.hosts[row].capacity)
    if not nodes:
        return ()
    left = {node: {resource: int(fleet.left(at(resource, node))[row]) for resource in BY_NODE} for node in nodes}
    return fitted(request.asked, left, {node: int(fleet.node_cpus[node][row]) for node in nodes}) or ()


def _left(fleet: Fleet, request: Request) -> dict[str, int]:
    if not fleet.ready.any():
        return dict.fromkeys(request.asked, 0)
    return {name: max(0, int(fleet.left(name).max(where=fleet.ready, initial=0))) for name in request.asked}
