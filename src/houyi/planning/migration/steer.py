"""Steering a live move so that it ends: recognise within a few rounds that it does not converge, then climb the policy's ladder. Pure.

A round sends what the guest has dirtied during the round before. What remains at the start of each is the measure: as long as it shrinks, sending is
faster than writing and the move converges by itself; where it stops shrinking it has reached the working set that is rewritten in every round,
and waiting longer changes nothing. (QEMU alone goes on for ever; the usual remedies wait minutes, doubling the guest's stop or slowing it blindly.)

Each rung is given a round to show what it does. The last one stops the move and says why; nothing that was turned outlives the attempt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from houyi.model.errors import Problem
from houyi.model.migration import Figures, Knobs, Terms
from houyi.model.vm import MigrationPolicy

SHRINKS = 0.8
"""A round that begins with more than this share of the least that ever remained has not helped: at this pace five times as much has still to be sent.
Nearer to 1, noise passes for progress; nearer to 0.5, guests are slowed that would have converged."""
OUTRUN = 0.95
"""A guest that dirties this share of what the line carries needs ten times its memory to be sent before the remainder halves: as good as never."""
NEAR = 2.0
"""What remains goes up and down with what the guest does, and takes less time when it is compressed: so near to the budget a round is spent on trying before a guest is slowed."""
ROUNDS_TO_JUDGE = 2
"""The first round is the whole memory and says nothing; the second begins with what was dirtied meanwhile."""
FIRST_DOWNTIME_SHARE = 0.67
"""Of the budget, to begin with: what remains when a round begins is mostly less than the limit by a third and more, so that guests stop for half of their budget.
A smaller share costs most of them another round, which takes longer than it shortens the stop."""
HANDOVER_MS = 60.0
"""Of a guest's stop that QEMU does not count in when it compares what remains with its limit: the state of devices, libvirt's last calls, and GO. 20 to 80 were measured."""
ROUNDS_TO_SLOW = 6
"""For so long it is waited that QEMU slows the guest as it was told: it does so at the end of every second round at most, and not twice within two seconds."""
SLICE_MS = 10.0
"""QEMU lets a slowed CPU run for so long at a time, and stops it in between for as long as makes the share."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One thing that can be turned, and how it is said to people."""

    name: str
    knobs: Callable[[Terms, Figures], Knobs]
    says: str
    may: Callable[[Terms], bool] = lambda _terms: True
    enough: Callable[[Figures, Terms], bool] = lambda _seen, _terms: True
    """Whether it can be what is missing; if not, it is turned together with the next one, and no round is spent on seeing that."""


def _slow(share: float, least: int, most: int) -> Rung:
    """Slow the guest until it dirties `share` of what the line carries, as it has just been seen to write."""

    def knobs(terms: Terms, seen: Figures) -> Knobs:
        unslowed = (seen.dirty_mib_s or seen.bandwidth_mib_s) / (1 - min(seen.throttle_percent, 99) / 100)
        needed = 100 * (1 - share * seen.bandwidth_mib_s / unslowed) if unslowed else 0.0
        return Knobs(throttle_percent=round(min(most, slowest(terms), max(least, needed))))

    return Rung(f"slow_{most}", knobs, f"slowing the guest by up to {most} %")


def slowest(terms: Terms) -> float:
    """Percent at which the guest, when slowed, stands still for half of its budget at a time: at 99 % it is a second, longer than any switch-over would take."""
    still = terms.downtime_ms_max / 2
    return 100 * still / (still + SLICE_MS)


def limit_ms(terms: Terms, share: float = 1.0) -> float:
    """What QEMU may be told of (a share of) the budget, so that the guest's whole stop stays within it."""
    return max(terms.downtime_ms_max * share - HANDOVER_MS, terms.downtime_ms_max * share / 2)


def _stop_ms(seen: Figures) -> float:
    """For how long the guest would have to stop now."""
    return seen.memory_remaining_mib / seen.bandwidth_mib_s * 1000 if seen.bandwidth_mib_s else 0.0


_BUDGET = Rung(
    "budget",
    lambda terms, _seen: Knobs(downtime_ms=limit_ms(terms)),
    "allowing the whole downtime budget",
    enough=lambda seen, terms: _stop_ms(seen) <= NEAR * limit_ms(terms),
)
_POSTCOPY = Rung(
    "postcopy",
    lambda _terms, _seen: Knobs(postcopy=True),
    "switching over, with the rest of the memory to follow",
    lambda terms: terms.postcopy and terms.channels == 1,
)

LADDERS: Mapping[MigrationPolicy, tuple[Rung, ...]] = {
    MigrationPolicy.AUTO: (_BUDGET, _POSTCOPY, _slow(0.5, 20, 60), _slow(0.25, 50, 80), _slow(0.0, 80, 80)),
    MigrationPolicy.GENTLE: (_BUDGET,),
    MigrationPolicy.FAST: (_POSTCOPY, _slow(0.25, 50, 80), _slow(0.0, 99, 99)),
    MigrationPolicy.NEVER: (),
}
"""What is tried, one after the other. Beyond 80 % the guest hardly runs, which only who is in a hurry wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """What is remembered of one attempt between two looks."""

    rung: int = 0
    """The next one of the ladder."""
    round: int = 0
    since_round: int = 0
    """The round in which the last rung was climbed: it is judged by a later one."""
    least_mib: float = float("inf")
    """The least that remained at the start of a round since then."""
    said: str = ""
    """What is being done, for people."""
    slows: int = 0
    """Percent that QEMU was told to slow the guest by, and has not been seen to yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    memory: Steered
    knobs: Knobs | None = None
    stop: Problem | None = None
    """Give up: cancel the attempt and tell why."""


def begin(terms: Terms) -> Knobs:
    """What an attempt starts with: the whole line (or its cap), since a slower move is a longer one, and the guest writes all the while."""
    hurry = terms.policy is MigrationPolicy.FAST
    downtime = limit_ms(terms) if hurry else limit_ms(terms) * FIRST_DOWNTIME_SHARE
    return Knobs(bandwidth_mib_s=terms.bandwidth_mib_s_max, downtime_ms=downtime, throttle_percent=_armed(terms))


def start(terms: Terms) -> Steered:
    """What is remembered before the first look. Where QEMU may slow the guest by itself, it is first waited for what that does."""
    slows = _armed(terms)
    return Steered(slows=slows, said=f"slowing the guest by {slows} % as foreseen" if slows else "")


def _armed(terms: Terms) -> int:
    return round(min(terms.slowed_percent, slowest(terms))) if may_throttle(terms) else 0


def may_throttle(terms: Terms) -> bool:
    """Whether a rung of the ladder slows the guest: QEMU has to be told at the start that it may."""
    return any(rung.name.startswith("slow") for rung in LADDERS[terms.policy])


def steer(memory: Steered, seen: Figures, terms: Terms) -> Steering:
    """Ask with every new figures. Between rounds, and once post-copy has begun, there is nothing to decide."""
    if seen.postcopy or seen.rounds <= memory.round:
        return Steering(memory=memory)
    fresh = replace(memory, round=seen.rounds)
    if fresh.slows:
        if seen.throttle_percent < fresh.slows and seen.rounds - fresh.since_round < ROUNDS_TO_SLOW:
            return Steering(memory=fresh)
        fresh = replace(fresh, slows=0, since_round=seen.rounds)
        return Steering(memory=fresh)
    stalled = _stalled(fresh, seen)
    fresh = replace(fresh, least_mib=min(fresh.least_mib, seen.memory_remaining_mib))
    if not stalled:
        return Steering(memory=fresh)
    ladder = LADDERS[terms.policy]
    turned = Knobs()
    for number in range(fresh.rung, len(ladder)):
        rung = ladder[number]
        if not rung.may(terms):
            continue
        turned = _both(turned, rung.knobs(terms, seen))
        if rung.enough(seen, terms):
            climbed = Steered(rung=number + 1, round=seen.rounds, since_round=seen.rounds, said=rung.says, slows=turned.throttle_percent or 0)
            return Steering(memory=climbed, knobs=turned)
    return Steering(memory=fresh, stop=_gives_up(seen, terms))


def _both(first: Knobs, second: Knobs) -> Knobs:
    return Knobs(
        downtime_ms=first.downtime_ms if second.downtime_ms is None else second.downtime_ms,
        throttle_percent=first.throttle_percent if second.throttle_percent is None else second.throttle_percent,
        postcopy=first.postcopy or second.postcopy,
    )


def _stalled(memory: Steered, seen: Figures) -> bool:
    """Whether the rounds since the last rung show that it does not converge as it is."""
    if seen.rounds - memory.since_round < (1 if memory.since_round else ROUNDS_TO_JUDGE):
        return False
    if not memory.rung and seen.bandwidth_mib_s and seen.dirty_mib_s >= OUTRUN * seen.bandwidth_mib_s:
        return True  # later it may still be the rate from before the rung: QEMU counts it once a second
    return seen.memory_remaining_mib > SHRINKS * memory.least_mib


def _gives_up(seen: Figures, terms: Terms) -> Problem:
    remedy = {
        MigrationPolicy.GENTLE: "allow policy auto, which may slow the guest, or a longer downtime",
        MigrationPolicy.AUTO: "allow post-copy or a longer downtime, use policy fast, or try when the guest is calmer",
    }.get(terms.policy, "allow post-copy or a longer downtime, or try when the guest is calmer")
    return Problem(
        "migration_diverges",
        f"the guest writes {seen.dirty_mib_s:.0f} MiB/s and the line carries {seen.bandwidth_mib_s:.0f} MiB/s: it would have to stop for "
        f"{_stop_ms(seen):.0f} ms, its budget is {terms.downtime_ms_max:.0f} ms; it stays where it was: {remedy}",
    )
