"""Where a VM lives while it moves, from what its two ends testify. Pure; the table is in docs/rfd/0002-fleet.md ("Where it lives").

Two keys make it decidable: what has arrived at the destination does not run by itself (INCOMING), and the source undefines its copy only once it has
given it up. So a guest that has never run at the destination is worth nothing there as long as the source has anything of it.

A host that is not heard of is believed only what cannot change behind our back (`_final`): an attempt that is over stays over, a guest
that was given up stays so, a guest that went has run.
"""

from dataclasses import dataclass
from enum import StrEnum

from houyi.model.migration import End, Migration, MigrationKind, ObservedMove, Order, Presence


class Place(StrEnum):
    SOURCE = "source"
    """Its home stays the source: nothing of it has run, or ever will, at the destination."""
    DESTINATION = "destination"
    """Its home is the destination: it runs there, or only what is there can be run or begun anew."""
    MOVING = "moving"
    """At the source, on its way; or, in post-copy, at both by design."""
    WITHDRAW_FIRST = "withdraw_first"
    """At the source, as soon as the destination has testified that its copy never ran and is gone."""
    RECOVER = "recover"
    """A post-copy whose connection broke: both halves are there."""
    UNKNOWN = "unknown"
    ALARM = "alarm"
    """Both ends say that it is theirs: an invariant is broken."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    place: Place
    why: str = ""
    """For people, where it is not plain from the place."""


_P = Presence
_BEGINNING = frozenset({_P.LIVE, _P.SENDING})
_PARTIAL = frozenset({_P.POSTCOPY, _P.POSTCOPY_BROKEN})
_EMPTY = frozenset({_P.NONE, _P.OFF})


def whereabouts(migration: Migration) -> Whereabouts:
    """Of a move that was begun (MOVING, UNKNOWN); before that the VM is at its source and nothing has to be found out."""
    if migration.gone:
        return _bereft(migration)
    source = _believed(migration.source, heard=migration.source_heard)
    destination = _believed(migration.destination, heard=migration.destination_heard)
    if migration.spec.kind is MigrationKind.COLD:
        return _cold(source)
    if destination is not None and (destination.presence is _P.LIVE or destination.went):
        if migration.source is not None and migration.source.presence is _P.LIVE and migration.source.over:
            return Whereabouts(Place.ALARM, "both hosts say that the VM runs there")
        if destination.presence not in _PARTIAL:
            return Whereabouts(Place.DESTINATION)
    if source is None:
        return Whereabouts(Place.UNKNOWN, "the source host is not heard of: the VM may run there")
    if source.presence is _P.NONE:
        return _given_up(migration, destination)
    if source.presence in _BEGINNING:
        return Whereabouts(Place.SOURCE if source.over else Place.MOVING)
    if source.presence in _PARTIAL or (destination is not None and destination.presence in _PARTIAL):
        return _partial(source, destination)
    if not source.over:
        if destination is None:
            return Whereabouts(Place.UNKNOWN, "the guest was stopped to be switched over, and the destination host is not heard of")
        return Whereabouts(Place.MOVING)
    return _ended(destination)


def _given_up(migration: Migration, destination: ObservedMove | None) -> Whereabouts:
    """The source's libvirt has given it up for good, since the other end had it whole.

    But if that took so long that what had arrived was ordered to be withdrawn meanwhile, it has to be known which was faster: withdrawn, it is nowhere, and the newest disk is the
    source's.
    """
    if migration.course.orders.get(End.DESTINATION) is not Order.WITHDRAW:
        return Whereabouts(Place.DESTINATION)
    if destination is None:
        return Whereabouts(Place.UNKNOWN, "the source gave the guest up while it was being taken back from the destination host, which is not heard of")
    if destination.order is Order.WITHDRAW and not destination.busy and destination.presence is _P.NONE:
        return Whereabouts(Place.SOURCE, "the source gave the guest up after all, when it had been taken back: it begins anew from its disk")
    return Whereabouts(Place.MOVING)


def _bereft(migration: Migration) -> Whereabouts:
    """A host of it is lost for good, as an administrator has said: what the other has is the newest that there is."""
    source = _believed(migration.source, heard=migration.source_heard)
    destination = _believed(migration.destination, heard=migration.destination_heard)
    if migration.destination_id in migration.gone:
        return _left_at_source(source, lost=migration.source_id in migration.gone)
    if migration.spec.kind is MigrationKind.COLD:
        return Whereabouts(Place.DESTINATION if source is not None and source.over and source.error is None else Place.SOURCE)
    if destination is not None and (destination.presence is _P.LIVE or destination.went):
        return Whereabouts(Place.DESTINATION)
    if source is not None and source.over and source.presence in _BEGINNING:
        return Whereabouts(Place.SOURCE)  # it had stayed there
    if destination is None:
        return Whereabouts(Place.UNKNOWN, "the source host is lost, and the destination host, which may have the VM, is not heard of")
    landing = destination.landing
    if destination.presence is _P.ARRIVED and landing is not None and landing.copies_disk:  # of a shared disk it is not known what the source wrote later
        return Whereabouts(Place.DESTINATION, "the source host is lost: what had arrived whole goes on")
    return Whereabouts(Place.SOURCE)


def _left_at_source(source: ObservedMove | None, *, lost: bool) -> Whereabouts:
    """The destination is lost; nothing is begun anew before the attempt has ended here."""
    if lost:
        return Whereabouts(Place.SOURCE)
    if source is None:
        return Whereabouts(Place.UNKNOWN, "the destination host is lost, and the source host is not heard of: the VM may run there")
    ended = source.over or source.presence in _EMPTY or source.presence is _P.POSTCOPY_BROKEN
    return Whereabouts(Place.SOURCE if ended else Place.MOVING)


def _cold(source: ObservedMove | None) -> Whereabouts:
    """A stopped VM is where its newest disk is: the source, until every block is confirmed to be at the destination."""
    if source is None:
        return Whereabouts(Place.UNKNOWN, "the source host is not heard of: whether the disk was copied is not known")
    if not source.over:
        return Whereabouts(Place.MOVING)
    return Whereabouts(Place.SOURCE if source.error is not None else Place.DESTINATION)


def _partial(source: ObservedMove, destination: ObservedMove | None) -> Whereabouts:
    """Post-copy: the destination runs what the source still has parts of.

    That nothing is at the destination is believed only after a recovery has failed: its word may be older than the switch-over.
    """
    if destination is None:
        return Whereabouts(Place.UNKNOWN, "the guest was being switched over by post-copy, and the destination host is not heard of")
    tried = source.order is Order.RECOVER and not source.busy and source.error is not None
    if source.presence is _P.OFF or (tried and destination.presence in _EMPTY):
        return Whereabouts(Place.DESTINATION, "one half of the guest's memory was lost: it begins anew from its disk")
    if _P.POSTCOPY_BROKEN in (source.presence, destination.presence):
        return Whereabouts(Place.RECOVER, "the connection broke during post-copy")
    return Whereabouts(Place.MOVING)


def _ended(destination: ObservedMove | None) -> Whereabouts:
    """The source has a halted or ended copy, no attempt is under way, and it never learned that the other took over."""
    if destination is None:
        return Whereabouts(Place.UNKNOWN, "the guest stopped at the source, and the destination host, which may have it, is not heard of")
    if destination.order is Order.WITHDRAW and not destination.busy and destination.presence is _P.NONE:
        return Whereabouts(Place.SOURCE)
    return Whereabouts(Place.WITHDRAW_FIRST, "the guest stopped at the source: what has arrived is taken back before it goes on there")


def _believed(seen: ObservedMove | None, *, heard: bool) -> ObservedMove | None:
    return seen if seen is not None and (heard or _final(seen)) else None


def _final(seen: ObservedMove) -> bool:
    """Whether the host has testified something that stays so while nobody hears of it."""
    gave_up = seen.presence is _P.NONE and seen.order in (Order.MOVE, Order.CANCEL, Order.RECOVER)
    withdrawn = seen.order is Order.WITHDRAW and seen.clean
    return seen.over or seen.went or gave_up or withdrawn
