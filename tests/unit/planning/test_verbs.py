"""What may be said to a VM: every verb in every state, and what is anticipated while a wish is under way."""

import itertools
from dataclasses import replace

import pytest

from houyi.model.ids import HostId, MigrationId
from houyi.model.vm import EffectiveState, Power, Vm, VmState
from houyi.planning.verbs import TABLE, Verb, Verdict, anticipated, may
from made import a_vm, an_image, an_observation

# A: accepted, =: already so, else the code of the refusal
STATES = ["pending", "creating", "starting", "running", "paused", "stopping", "stopped", "crashed", "error", "unknown", "deleting"]
GRID = """
start       A            A            =            =         vm_paused A          A            A            A            A           vm_deleting
stop        A            A            A            A         A         =          =            A            A            A           vm_deleting
force_stop  A            A            A            A         A         A          =            A            A            A           vm_deleting
pause       vm_not_running A          A            A         =         vm_not_running vm_not_running vm_not_running vm_not_running host_unreachable vm_deleting
resume      vm_not_paused vm_not_paused vm_not_paused =      A         vm_not_paused vm_not_paused vm_not_paused vm_not_paused host_unreachable vm_deleting
reboot      vm_not_running vm_not_running vm_not_running A   vm_paused vm_not_running vm_not_running vm_not_running vm_not_running host_unreachable vm_deleting
reset       vm_not_running vm_not_running vm_not_running A   vm_paused vm_not_running vm_not_running vm_not_running vm_not_running host_unreachable vm_deleting
update      A            A            A            A         A         A          A            A            A            A           vm_deleting
delete      A            A            A            A         A         A          A            A            A            A           =
"""
CELLS = [(row[0], state, answer) for line in GRID.split("\n") if (row := line.split()) for state, answer in zip(STATES, row[1:], strict=True)]


def seen(state: VmState = VmState.RUNNING, *, power: Power = Power.RUNNING, generation: int = 1, heard: bool = True, deleted: bool = False) -> Vm:
    desired = a_vm(an_image(), power=power, deleted=deleted)
    observed = an_observation(desired, state, generation=generation)
    return Vm(desired=desired, protected=False, host_id=HostId("h"), observed=observed, host_heard=heard, created_at=1.0, revision=1)


def test_the_grid_is_whole() -> None:
    assert {(verb, state) for verb, state, _ in CELLS} == set(itertools.product(Verb, EffectiveState))


@pytest.mark.parametrize(("verb", "state", "expected"), CELLS)
def test_every_cell(verb: str, state: str, expected: str) -> None:
    answer = TABLE[Verb(verb)][EffectiveState(state)]
    said = {Verdict.ACCEPT: "A", Verdict.ALREADY: "=", Verdict.REFUSE: answer.code}[answer.verdict]
    assert said == expected
    assert bool(answer.detail) == (answer.verdict is Verdict.REFUSE), "a refusal says why, and only a refusal"


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        (seen(VmState.PAUSED, power=Power.PAUSED), EffectiveState.PAUSED),
        (seen(VmState.PAUSED, generation=0), EffectiveState.RUNNING),
        (seen(VmState.RUNNING, power=Power.PAUSED, generation=0), EffectiveState.PAUSED),
        (seen(VmState.RUNNING, power=Power.STOPPED, generation=0), EffectiveState.STOPPING),
        (seen(VmState.STOPPED, power=Power.STOPPED), EffectiveState.STOPPED),
        (seen(VmState.RUNNING, deleted=True), EffectiveState.DELETING),
        (seen(VmState.RUNNING, heard=False), EffectiveState.UNKNOWN),
        (seen(VmState.RUNNING, generation=0, heard=False), EffectiveState.UNKNOWN),
        (Vm(desired=a_vm(an_image()), protected=False, host_id=None, observed=None, host_heard=False, created_at=1.0, revision=1), EffectiveState.RUNNING),
    ],
)
def test_a_verb_meets_the_state_that_earlier_ones_lead_to(vm: Vm, expected: EffectiveState) -> None:
    assert anticipated(vm) is expected


@pytest.mark.parametrize(
    ("verb", "vm", "verdict"),
    [
        (Verb.STOP, seen(VmState.STOPPED, power=Power.STOPPED), Verdict.ALREADY),
        (Verb.STOP, seen(VmState.STOPPED, power=Power.RUNNING), Verdict.ACCEPT),  # the guest shut itself down: now it shall stay so
        (Verb.START, seen(VmState.STOPPED, power=Power.RUNNING), Verdict.ACCEPT),  # ... or come back
        (Verb.START, seen(VmState.RUNNING, power=Power.STOPPED), Verdict.ACCEPT),  # somebody else started it
        (Verb.RESUME, seen(VmState.RUNNING, power=Power.PAUSED), Verdict.ACCEPT),
        (Verb.START, seen(VmState.RUNNING), Verdict.ALREADY),
        (Verb.DELETE, seen(VmState.RUNNING, deleted=True), Verdict.ALREADY),
        (Verb.START, seen(VmState.ABSENT), Verdict.ACCEPT),  # somebody removed the domain behind our back
    ],
)
def test_a_state_against_the_wish_is_no_already_so(verb: Verb, vm: Vm, verdict: Verdict) -> None:
    assert may(verb, vm).verdict is verdict


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("unknown", [False, True])
def test_a_vm_on_a_move_takes_no_verb_but_its_deletion_where_nobody_knows_where_it_is(verb: Verb, unknown: bool) -> None:
    moving = replace(seen(VmState.RUNNING, heard=False), migration_id=MigrationId("m"), migration_unknown=unknown)
    taken = unknown and verb is Verb.DELETE
    assert (may(verb, moving).verdict, may(verb, moving).code) == ((Verdict.ACCEPT, "") if taken else (Verdict.REFUSE, "vm_migrating"))
