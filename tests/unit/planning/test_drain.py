"""A drain's plan: where each VM goes, in which order, when, and what stands against it."""

from dataclasses import replace
from typing import Any

import pytest

from fleets import a_fleet, a_group, a_host
from houyi.model.host import Host
from houyi.model.ids import HostId, PlacementGroupId, VmId
from houyi.model.migration import Forecast, Migration, MigrationKind, MigrationState, MoveMode
from houyi.model.placement_group import FaultDomain, GroupPolicy, PlacementGroup
from houyi.model.vm import MigrationPolicy, Power, Vm, VmState
from houyi.planning.drain import AHEAD, DrainPlan, Guest, Standing, due, in_short, plan_drain, standing
from houyi.planning.placement.filters import amounts
from houyi.planning.placement.fleet import Request
from made import a_vm, an_image, an_observation
from unit.planning.moves import move

A = HostId("a")
SECONDS = 10.0


def guest(name: str, *, state: VmState = VmState.RUNNING, memory_mib: int = 512, group: PlacementGroup | None = None, **spec: Any) -> Guest:
    power = Power.RUNNING if state is VmState.RUNNING else Power.STOPPED
    desired = replace(a_vm(an_image(), name, memory_mib=memory_mib, power=power, spec=spec), id=VmId(name))
    vm = Vm(
        desired=desired,
        protected=False,
        host_id=A,
        observed=an_observation(desired, state, accelerator="qemu"),
        host_heard=True,
        created_at=1.0,
        revision=1,
    )
    return Guest(vm=vm, request=Request(asked=amounts(desired.spec), group=group), held=amounts(desired.spec))


def told(vm: Vm, kind: MigrationKind, _to: HostId) -> Forecast | None:
    """As long as the VM's memory is large; nothing of a cold move."""
    if kind is MigrationKind.COLD:
        return None
    seconds = SECONDS * vm.desired.spec.memory_mib / 512
    return Forecast(converges=True, mode=MoveMode.PLAIN, total_seconds=seconds, downtime_ms=20.0, sent_mib=1.0, why="")


def drain(*guests: Guest, hosts: tuple[Host, ...] = (), members: dict[PlacementGroupId, dict[HostId, int]] | None = None) -> DrainPlan:
    fleet = a_fleet(a_host("a"), *(hosts or (a_host("b"), a_host("c"))), members=members)
    return plan_drain(fleet.hosts[0], guests, fleet, told)


def codes(plan: DrainPlan) -> dict[str, list[str]]:
    return {one.vm_name: [problem.code for problem in one.problems] for one in plan.staying}


def test_an_empty_host() -> None:
    plan = drain()
    assert (plan.departures, plan.seconds, in_short(plan)) == ((), 0.0, "the host has no VMs")


def test_all_go_and_none_to_the_host_itself() -> None:
    plan = drain(*(guest(f"v{n}") for n in range(4)))
    assert [one.destination_id for one in plan.going] == ["b", "c", "b", "c"]
    assert not plan.staying


def test_two_at_once_and_one_to_each_host() -> None:
    plan = drain(*(guest(f"v{n}") for n in range(4)))
    assert [one.begins_after for one in plan.going] == [0.0, 0.0, SECONDS, SECONDS]
    assert plan.seconds == 2 * SECONDS
    alone = drain(*(guest(f"v{n}") for n in range(3)), hosts=(a_host("b"),))
    assert [one.begins_after for one in alone.going] == [0.0, SECONDS, 2 * SECONDS]
    assert alone.seconds == 3 * SECONDS


def test_the_largest_go_first_so_that_all_fit() -> None:
    """Smallest first, each beside the other, would leave no host with room for the large one."""
    plan = drain(guest("s1", memory_mib=600), guest("s2", memory_mib=600), guest("large", memory_mib=3000))
    assert [one.vm_name for one in plan.going] == ["large", "s1", "s2"]
    assert {one.vm_name: one.destination_id for one in plan.going}["large"] not in {one.destination_id for one in plan.going if one.vm_name != "large"}


def test_what_does_not_fit_stays_and_the_rest_goes() -> None:
    plan = drain(guest("large", memory_mib=3500), guest("huge", memory_mib=9000), guest("small"))
    assert codes(plan) == {"huge": ["no_capacity"]}
    assert {one.vm_name for one in plan.going} == {"large", "small"}
    assert "left" in plan.staying[0].problems[0].detail
    assert in_short(plan).startswith("2 of 3 VMs can move, in about")


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (guest("v", migration_policy=MigrationPolicy.NEVER), "migration_forbidden"),
        (guest("v", state=VmState.STARTING), "vm_busy"),
        (replace(guest("v"), vm=replace(guest("v").vm, host_heard=False)), "host_unreachable"),
    ],
)
def test_what_cannot_move_says_why(one: Guest, code: str) -> None:
    plan = drain(one, guest("w"))
    assert codes(plan) == {"v": [code]}
    assert [each.vm_name for each in plan.going] == ["w"]


def test_a_stopped_vm_moves_cold_and_what_is_not_known_counts_nothing() -> None:
    plan = drain(guest("off", state=VmState.STOPPED))
    assert (plan.going[0].kind, plan.going[0].forecast, plan.seconds) == (MigrationKind.COLD, None, 0.0)


def test_why_no_other_host_may_is_said_of_each() -> None:
    plan = drain(guest("v"), hosts=(a_host("b", cordoned=True), a_host("c", joined=False)))
    assert [problem.detail for problem in plan.staying[0].problems] == ["host b is cordoned", "host c is joining"]


def test_there_is_no_other_host() -> None:
    fleet = a_fleet(a_host("a"))
    plan = plan_drain(fleet.hosts[0], [guest("v")], fleet, told)
    assert codes(plan) == {"v": ["no_capacity"]}


def test_vms_that_are_to_be_apart_stay_apart() -> None:
    group = a_group(GroupPolicy.ANTI_AFFINITY)
    plan = drain(guest("v", group=group), members={group.id: {A: 1, HostId("b"): 1}})
    assert [one.destination_id for one in plan.going] == ["c"]
    full = drain(guest("v", group=group), members={group.id: {A: 1, HostId("b"): 1, HostId("c"): 1}})
    assert codes(full) == {"v": ["no_capacity"]}
    assert "placement group's rule" in full.staying[0].problems[0].detail


def test_apart_by_racks_the_place_that_is_left_counts_as_free() -> None:
    group = a_group(GroupPolicy.ANTI_AFFINITY, scope=FaultDomain.RACK)
    fleet = a_fleet(a_host("a", labels={"rack": "1"}), a_host("b", labels={"rack": "1"}), members={group.id: {A: 1}})
    assert [one.destination_id for one in plan_drain(fleet.hosts[0], [guest("v", group=group)], fleet, told).going] == ["b"]


def test_a_vm_alone_in_its_group_goes_anywhere_two_that_must_share_a_host_hold_each_other() -> None:
    """Moves are of one VM each: the first of the two would leave the other."""
    group = a_group(GroupPolicy.AFFINITY)
    assert len(drain(guest("v", group=group), members={group.id: {A: 1}}).going) == 1
    both = drain(guest("v", group=group), guest("w", group=group), members={group.id: {A: 2}})
    assert codes(both) == {"v": ["no_capacity"], "w": ["no_capacity"]}


def test_what_is_left_then() -> None:
    before = drain()
    after = drain(guest("v", memory_mib=1000))
    assert before.left["memory_mib"] - after.left["memory_mib"] == 1000 + 64
    assert before.left["vcpu"] - after.left["vcpu"] == 1


class TestDue:
    """Which moves to begin now; a clock of seconds, and failures by when they ended."""

    def ended(self, vm: str, *at: float, state: MigrationState = MigrationState.FAILED) -> list[Migration]:
        return [replace(move(state), vm_id=VmId(vm), course=replace(move(state).course, ended_at=when)) for when in at]

    def names(self, moves: list[Migration], now: float = 1000.0, count: int = 6) -> list[str]:
        return sorted(one.vm_name for one in due(drain(*(guest(f"v{n}") for n in range(count))), moves, now))

    def test_a_few_at_once(self) -> None:
        assert len(self.names([])) == AHEAD
        under_way = [replace(move(MigrationState.MOVING), vm_id=VmId("x")), replace(move(MigrationState.QUEUED), vm_id=VmId("y"))]
        assert len(self.names(under_way)) == AHEAD - 2

    @pytest.mark.parametrize(("failures", "waits"), [(1, 30.0), (2, 60.0), (3, 120.0), (6, 600.0), (60, 600.0)])
    def test_what_failed_waits_longer_each_time_and_not_for_ever(self, failures: int, waits: float) -> None:
        failed = self.ended("v0", *([500.0] * failures))
        assert self.names(failed, 500.0 + waits - 1, 2) == ["v1"]
        assert self.names(failed, 500.0 + waits, 2) == ["v0", "v1"]

    def test_one_that_people_cancelled_waits_as_well(self) -> None:
        assert self.names(self.ended("v0", 999.0, state=MigrationState.CANCELLED), count=2) == ["v1"]

    def test_one_that_came_back_goes_at_once(self) -> None:
        assert self.names(self.ended("v0", 999.0, state=MigrationState.DONE), count=1) == ["v0"]


class TestStanding:
    def test_what_is_claimed_by_no_vm_keeps_it_from_being_done(self) -> None:
        """The landing place of a move that is being undone."""
        assert standing(drain(), [], empty=False) == Standing(done=False, progress=0.99, stage="0 of 0 moved, 0 under way", blocked_on="")

    def test_what_is_blocked_is_told_when_nothing_else_goes_on(self) -> None:
        plan = drain(guest("v", migration_policy=MigrationPolicy.NEVER), guest("w", memory_mib=9000))
        assert standing(plan, [], empty=False).blocked_on == "2 cannot move (migration_forbidden, no_capacity)"
        assert standing(plan, [move(MigrationState.MOVING)], empty=False).blocked_on == ""
