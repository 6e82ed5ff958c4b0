"""Whether a host may be forgotten now, and if not, why not and what to do. Pure.

A host that is not heard of may run what it has: nothing of it is taken for dead because it is silent. Only an administrator can say that its machine
is lost, and even that ends no VM that somebody still wants: whose disks were there decides its owner, by deleting it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from houyi.model.errors import Problem
from houyi.model.host import Host
from houyi.model.migration import Migration, MigrationState
from houyi.model.vm import Vm
from houyi.planning.migration.whereabouts import Place, whereabouts

NAMES_MAX = 5


def why_not(host: Host, vms: Sequence[Vm], moves: Sequence[Migration], *, lost: bool) -> Problem | None:
    """:param vms: whose home it is. :param moves: open ones that it is an end of. :param lost: its machine will never run again, says who asks."""
    if lost and host.connected:
        return Problem(
            "host_not_lost", f"host {host.name!r} is heard of, so nothing is lost: drain it (`houyi host drain {host.name}`), then remove it without --lost"
        )
    safe = {one.vm_id for one in saved(host, moves)} if lost else set()
    if wanted := [vm.desired.name for vm in vms if not vm.desired.deleted and vm.desired.id not in safe]:
        return Problem("host_has_vms", _has(host, wanted))
    if not lost and (coming := [one.vm_name for one in moves if one.destination_id == host.id and one.course.state is not MigrationState.ABORTING]):
        return Problem(
            "host_has_moves", f"{_count(coming)} on the way to host {host.name!r}: wait until they have arrived, or `houyi migration cancel` their moves"
        )
    if host.connected and moves:
        left = _count(one.vm_name for one in moves)
        return Problem("host_has_moves", f"host {host.name!r} is removing what is left of {left} that moved: try again in a moment")
    if vms and not lost:
        return Problem("host_has_vms", _deleting(host, [vm.desired.name for vm in vms]))
    return None


def saved(host: Host, moves: Sequence[Migration]) -> list[Migration]:
    """Moves away from a host that is lost whose VMs live on at their destinations: each as it is to be decided then."""
    begun = [bereft(one, host) for one in moves if one.source_id == host.id and one.course.state in (MigrationState.MOVING, MigrationState.UNKNOWN)]
    return [one for one in begun if whereabouts(one).place is Place.DESTINATION]


def bereft(move: Migration, host: Host) -> Migration:
    """As it is once the host is removed."""
    return replace(move, gone=move.gone | {host.id})


def _has(host: Host, names: Sequence[str]) -> str:
    if host.connected:
        return f"host {host.name!r} has {_count(names)}: `houyi host drain {host.name}` moves them away"
    return (
        f"host {host.name!r} is not heard of and has {_count(names)}, which may well be running: wait until it is back. "
        "If its machine will never run again, delete them (their disks were there), and then remove it with --lost"
    )


def _deleting(host: Host, names: Sequence[str]) -> str:
    if host.connected:
        return f"host {host.name!r} is still deleting {_count(names)}: try again in a moment"
    return (
        f"host {host.name!r} is not heard of and has not deleted {_count(names)} yet: wait until it is back. "
        "If its machine will never run again, remove it with --lost, which forgets them"
    )


def _count(names: Iterable[str]) -> str:
    """'2 VMs (a, b)'."""
    known = sorted(names)
    more = ", ..." if len(known) > NAMES_MAX else ""
    return f"{len(known)} VM{'' if len(known) == 1 else 's'} ({', '.join(known[:NAMES_MAX])}{more})"
