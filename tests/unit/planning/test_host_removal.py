"""When a host may be forgotten: a table."""

from dataclasses import replace

import pytest

from fleets import a_host
from houyi.model.host import Host
from houyi.model.ids import HostId, OperationId
from houyi.model.migration import Migration, MigrationCourse, MigrationState
from houyi.model.vm import Vm
from houyi.planning.host_removal import why_not
from made import a_migration, a_vm, an_image

IMAGE = an_image()
HEARD = replace(a_host("h1"), drain_id=OperationId("o"))
SILENT = replace(HEARD, connected=False)
JOINING = a_host("h1", joined=False)


def vm(name: str, *, deleted: bool = False) -> Vm:
    desired = replace(a_vm(IMAGE, name), deleted=deleted)
    return Vm(desired=desired, protected=False, host_id=HostId("h1"), observed=None, host_heard=True, created_at=1.0, revision=1)


def coming(state: MigrationState) -> Migration:
    return a_migration(a_vm(IMAGE, "comes"), HostId("h2"), HostId("h1"), course=MigrationCourse(state=state))


def leaving(state: MigrationState) -> Migration:
    return a_migration(a_vm(IMAGE, "left"), HostId("h1"), HostId("h2"), course=MigrationCourse(state=state))


S = MigrationState
A, GOING = vm("a"), vm("going", deleted=True)

CASES: list[tuple[Host, list[Vm], list[Migration], bool, str]] = [
    (HEARD, [], [], False, ""),
    (JOINING, [], [], False, ""),
    (SILENT, [], [], False, ""),
    (SILENT, [], [], True, ""),
    (JOINING, [], [], True, ""),
    (HEARD, [], [], True, "host_not_lost: host 'h1' is heard of"),
    (HEARD, [A], [], False, "host_has_vms: host 'h1' has 1 VM (a): `houyi host drain h1` moves them away"),
    (HEARD, [GOING], [], False, "host_has_vms: host 'h1' is still deleting 1 VM (going): try again in a moment"),
    (SILENT, [A, GOING], [], False, "host_has_vms: host 'h1' is not heard of and has 1 VM (a), which may well be running"),
    (SILENT, [A], [], True, "host_has_vms: host 'h1' is not heard of and has 1 VM (a), which may well be running"),
    (SILENT, [GOING], [], False, "host_has_vms: host 'h1' is not heard of and has not deleted 1 VM (going) yet"),
    (SILENT, [GOING], [], True, ""),
    (HEARD, [], [coming(S.MOVING)], False, "host_has_moves: 1 VM (comes) on the way"),
    (SILENT, [], [coming(S.QUEUED)], False, "host_has_moves: 1 VM (comes) on the way"),
    (SILENT, [], [coming(S.UNKNOWN)], False, "host_has_moves: 1 VM (comes) on the way"),
    (SILENT, [], [coming(S.UNKNOWN)], True, ""),
    (SILENT, [], [coming(S.QUEUED)], True, ""),
    (HEARD, [], [coming(S.ABORTING)], False, "host_has_moves: host 'h1' is removing what is left of 1 VM (comes)"),
    (SILENT, [], [coming(S.ABORTING)], False, ""),
    (HEARD, [], [leaving(S.FINISHING)], False, "host_has_moves: host 'h1' is removing what is left of 1 VM (left)"),
    (SILENT, [], [leaving(S.FINISHING)], False, ""),
]


@pytest.mark.parametrize(("host", "vms", "moves", "lost", "why"), CASES)
def test_a_host_may_be_forgotten_or_not(host: Host, vms: list[Vm], moves: list[Migration], lost: bool, why: str) -> None:
    problem = why_not(host, vms, moves, lost=lost)
    said = "" if problem is None else f"{problem.code}: {problem.detail}"
    assert said.startswith(why)
    assert bool(said) is bool(why)


def test_of_many_a_few_are_named() -> None:
    problem = why_not(HEARD, [vm(f"vm-{number}") for number in range(9)], [], lost=False)
    assert problem is not None
    assert "9 VMs (vm-0, vm-1, vm-2, vm-3, vm-4, ...)" in problem.detail
