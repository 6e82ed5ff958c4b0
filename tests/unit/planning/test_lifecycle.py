"""The life of a VM on its host: tables of what is done when, and a tiny world in which every plan is carried out until it rests."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.ids import ImageId, ProjectId, VmId
from houyi.model.vm import DesiredVm, Power, Remedy, RestartPolicy, StateReason, StopMode, Trouble, VmSpec, VmState, may_follow
from houyi.planning.lifecycle import PREPARE, PRESS_SECONDS, RESTART_DELAYS_SECONDS, SHOWN, STEADY_SECONDS, Memory, Plan, Seen, Step, done, failed, hurt, plan

BOOT = "this boot"
NOW = 1_800_000_000.0
SPEC = VmSpec(image_id=ImageId("i"), vcpus=1, memory_mib=128, disk_gib=1)
VM = DesiredVm(id=VmId("v"), project_id=ProjectId("p"), name="v", epoch=1, generation=1, spec=SPEC, power=Power.RUNNING, grace_seconds=60)
RAN = Memory(epoch=1, generation=1, started_serial=1, started_boot=BOOT, started_at=NOW - 30, resumed_serial=0)
"""It was started under VM's wish, half a minute ago."""
UP, UP_PAUSED = (*PREPARE, Step.START), (*PREPARE, Step.START_PAUSED)
LIVE = frozenset({VmState.RUNNING, VmState.PAUSED, VmState.STOPPING})


def wanting(power: Power, policy: RestartPolicy = RestartPolicy.ON_FAILURE, **more: object) -> DesiredVm:
    return replace(VM, power=power, spec=replace(SPEC, restart_policy=policy), **more)  # type: ignore[arg-type]


def look(desired: DesiredVm, seen: Seen, memory: Memory = RAN, now: float = NOW) -> Plan:
    return plan(desired, seen, memory, boot_id=BOOT, now=now)


def at(state: VmState | None, reason: StateReason = StateReason.NONE) -> Seen:
    return Seen(state=state, reason=reason, files=True, epoch=1 if state else 0)


N, R, A = RestartPolicy.NEVER, RestartPolicy.ON_FAILURE, RestartPolicy.ALWAYS
DIED, PANIC, OFF, EXTERNAL = StateReason.QEMU_DIED, StateReason.GUEST_PANIC, StateReason.GUEST_SHUTDOWN, StateReason.EXTERNAL
NONE, ASKED, IO = StateReason.NONE, StateReason.REQUESTED, StateReason.IO_ERROR

# What is wanted, what is seen -> the steps, the state that is shown, whether the wish is in force. Policies are told apart where they matter.
TABLE: list[tuple[Power, tuple[RestartPolicy, ...], Seen, tuple[Step, ...], VmState, bool]] = [
    (Power.RUNNING, (N, R, A), Seen(), UP, VmState.PREPARING, False),
    (Power.RUNNING, (N, R, A), Seen(files=True), UP, VmState.PREPARING, False),
    (Power.RUNNING, (N, R, A), at(VmState.RUNNING), (), VmState.RUNNING, True),
    (Power.RUNNING, (N, R, A), at(VmState.PAUSED, EXTERNAL), (Step.RESUME,), VmState.PAUSED, False),
    (Power.RUNNING, (N, R, A), at(VmState.PAUSED, IO), (Step.RESUME,), VmState.PAUSED, False),
    (Power.RUNNING, (N, R, A), at(VmState.STOPPING), (), VmState.STOPPING, False),
    (Power.RUNNING, (N, R, A), at(VmState.STOPPED), UP, VmState.PREPARING, False),
    (Power.RUNNING, (N, R, A), at(VmState.STOPPED, ASKED), UP, VmState.PREPARING, False),
    (Power.RUNNING, (N, R), at(VmState.STOPPED, OFF), (), VmState.STOPPED, True),
    (Power.RUNNING, (A,), at(VmState.STOPPED, OFF), (), VmState.STOPPED, True),
    (Power.RUNNING, (N, R), at(VmState.STOPPED, EXTERNAL), (), VmState.STOPPED, True),
    (Power.RUNNING, (N,), at(VmState.CRASHED, PANIC), (), VmState.CRASHED, True),
    (Power.RUNNING, (N,), at(VmState.CRASHED, DIED), (), VmState.CRASHED, True),
    (Power.RUNNING, (R, A), at(VmState.CRASHED, PANIC), (), VmState.CRASHED, True),
    (Power.PAUSED, (N, R, A), Seen(), UP_PAUSED, VmState.PREPARING, False),
    (Power.PAUSED, (N, R, A), at(VmState.RUNNING), (Step.SUSPEND,), VmState.RUNNING, False),
    (Power.PAUSED, (N, R, A), at(VmState.PAUSED, ASKED), (), VmState.PAUSED, True),
    (Power.PAUSED, (N, R, A), at(VmState.PAUSED, IO), (), VmState.PAUSED, True),
    (Power.PAUSED, (N, R, A), at(VmState.STOPPED), UP_PAUSED, VmState.PREPARING, False),
    (Power.STOPPED, (N, R, A), Seen(), PREPARE, VmState.PREPARING, False),
    (Power.STOPPED, (N, R, A), Seen(files=True), (), VmState.STOPPED, True),
    (Power.STOPPED, (N, R, A), at(VmState.STOPPED, OFF), (), VmState.STOPPED, True),
    (Power.STOPPED, (N, R, A), at(VmState.RUNNING), (Step.SHUTDOWN,), VmState.STOPPING, False),
    (Power.STOPPED, (N, R, A), at(VmState.STOPPING), (Step.SHUTDOWN,), VmState.STOPPING, False),
    (Power.STOPPED, (N, R, A), at(VmState.PAUSED), (Step.RESUME, Step.SHUTDOWN), VmState.STOPPING, False),
    (Power.STOPPED, (N, R, A), at(VmState.CRASHED, PANIC), (Step.DESTROY,), VmState.CRASHED, False),
]


@pytest.mark.parametrize(("power", "policies", "seen", "steps", "state", "settled"), TABLE, ids=lambda value: str(getattr(value, "state", value))[:40])
def test_what_is_done(power: Power, policies: tuple[RestartPolicy, ...], seen: Seen, steps: tuple[Step, ...], state: VmState, settled: bool) -> None:
    for policy in policies:
        answer = look(wanting(power, policy), seen)
        assert (answer.steps, answer.state, answer.settled) == (steps, state, settled), policy


@pytest.mark.parametrize("power", Power)
@pytest.mark.parametrize("state", [None, VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.STOPPING, VmState.CRASHED])
@pytest.mark.parametrize("files", [False, True])
def test_deleted_ends_with_nothing_left(power: Power, state: VmState | None, files: bool) -> None:
    seen = Seen(state=state, files=files)
    answer = look(wanting(power, deleted=True), seen)
    if state is None and not files:
        assert answer.gone
        return
    assert not answer.gone
    assert answer.steps[-1] is Step.REMOVE_FILES
    assert (Step.UNDEFINE in answer.steps) == (state is not None)
    assert look(wanting(power, deleted=True), Seen(), answer.memory).gone


def test_an_order_of_an_older_epoch_is_refused() -> None:
    for memory, seen in [(replace(RAN, epoch=2), at(VmState.STOPPED)), (Memory(), replace(at(VmState.STOPPED), epoch=2))]:
        answer = look(wanting(Power.RUNNING), seen, memory)
        assert answer.steps == ()
        assert not answer.settled
        assert answer.refused is not None
        assert answer.refused.code == "epoch_old"
    assert look(wanting(Power.RUNNING, epoch=2), at(VmState.STOPPED), replace(RAN, epoch=2)).steps == UP


# Stopping


def test_the_button_is_pressed_again_and_the_plug_pulled_after_the_grace_period() -> None:
    stop = wanting(Power.STOPPED, power_serial=2, generation=2, grace_seconds=12)
    memory, pressed, now = RAN, [], NOW
    while True:
        answer = look(stop, at(VmState.RUNNING), memory, now)
        memory = answer.memory
        if Step.DESTROY in answer.steps:
            break
        if answer.steps:
            pressed.append(now - NOW)
        else:
            assert answer.look_again_seconds is not None
        now += 0.5
    assert pressed == [0.0, PRESS_SECONDS, 2 * PRESS_SECONDS]
    assert now - NOW == 12


def test_force_pulls_the_plug_at_once() -> None:
    assert look(wanting(Power.STOPPED, stop_mode=StopMode.FORCE), at(VmState.RUNNING)).steps == (Step.DESTROY,)


def test_a_new_wish_to_stop_has_a_grace_period_of_its_own() -> None:
    memory = look(wanting(Power.STOPPED, power_serial=2), at(VmState.RUNNING)).memory
    answer = look(wanting(Power.STOPPED, power_serial=4), at(VmState.RUNNING), memory, NOW + 3600)
    assert answer.steps == (Step.SHUTDOWN,)
    assert answer.memory.stopping_since == NOW + 3600


def test_a_start_asked_while_it_goes_down_is_done_when_it_is_down() -> None:
    memory = look(wanting(Power.STOPPED, power_serial=2, generation=2), at(VmState.RUNNING)).memory
    start = wanting(Power.RUNNING, power_serial=3, generation=3)
    memory = look(start, at(VmState.RUNNING), memory, NOW + 1).memory
    assert look(start, at(VmState.STOPPED, OFF), memory, NOW + 2).steps == UP


def test_a_press_that_the_guest_ignored_is_forgotten() -> None:
    memory = look(wanting(Power.STOPPED, power_serial=2, generation=2), at(VmState.RUNNING)).memory
    start = wanting(Power.RUNNING, power_serial=3, generation=3)
    memory = look(start, at(VmState.RUNNING), memory, NOW + 1).memory
    memory = look(start, at(VmState.RUNNING), memory, NOW + 100).memory
    assert look(start, at(VmState.STOPPED, OFF), memory, NOW + 200).settled, "its own shutdown, long after: it stays down"


def test_a_process_that_has_died_needs_no_plug_pulled_for_ever() -> None:
    stop = wanting(Power.STOPPED, power_serial=2)
    first = look(stop, at(VmState.CRASHED, DIED))
    assert first.steps == (Step.DESTROY,)
    second = look(stop, at(VmState.CRASHED, DIED), first.memory)
    assert (second.steps, second.state, second.settled) == ((), VmState.STOPPED, True)


def test_a_clock_that_was_set_back_does_not_stretch_a_grace_period() -> None:
    stop = wanting(Power.STOPPED, power_serial=2, grace_seconds=10)
    memory = look(stop, at(VmState.RUNNING)).memory
    back = NOW - 86400
    memory = look(stop, at(VmState.RUNNING), memory, back).memory
    assert look(stop, at(VmState.RUNNING), memory, back + 10).steps == (Step.DESTROY,)


# Endings by the guest


@pytest.mark.parametrize(
    ("policy", "reason", "restarts"), [(p, r, p is A or (p is R and r in (PANIC, DIED))) for p in (N, R, A) for r in (OFF, PANIC, DIED, EXTERNAL)]
)
def test_the_policy_says_what_follows_an_ending(policy: RestartPolicy, reason: StateReason, restarts: bool) -> None:
    seen = at(VmState.CRASHED if reason in (PANIC, DIED) else VmState.STOPPED, reason)
    first = look(wanting(Power.RUNNING, policy), seen)
    assert first.reason is reason
    assert first.look_again_seconds == (RESTART_DELAYS_SECONDS[0] if restarts else None)
    later = look(wanting(Power.RUNNING, policy), seen, first.memory, NOW + 3600)
    assert (Step.START in later.steps) == restarts


def test_restarts_in_a_row_wait_longer_and_longer() -> None:
    memory, now, delays = RAN, NOW, []
    want = wanting(Power.RUNNING)
    for _ in range(len(RESTART_DELAYS_SECONDS) + 2):
        ended = look(want, at(VmState.CRASHED, PANIC), memory, now)
        assert ended.look_again_seconds is not None
        delays.append(ended.look_again_seconds)
        now += ended.look_again_seconds
        again = look(want, at(VmState.CRASHED, PANIC), ended.memory, now)
        assert again.steps == (Step.DESTROY, *UP)
        memory = done(Step.START, want, again.memory, boot_id=BOOT, now=now)
        now += 1
    assert delays == [*RESTART_DELAYS_SECONDS, 60.0, 60.0]
    assert memory.restarts == len(delays)


def test_a_steady_run_begins_at_the_first_delay_again() -> None:
    memory = replace(RAN, restarts=5, started_at=NOW - STEADY_SECONDS)
    assert look(wanting(Power.RUNNING), at(VmState.CRASHED, DIED), memory).look_again_seconds == RESTART_DELAYS_SECONDS[0]


@pytest.mark.parametrize("policy", RestartPolicy)
def test_a_new_wish_to_start_waits_for_no_delay(policy: RestartPolicy) -> None:
    memory = look(wanting(Power.RUNNING, policy), at(VmState.CRASHED, PANIC), replace(RAN, restarts=6)).memory
    start = wanting(Power.RUNNING, policy, power_serial=2, generation=2)
    answer = look(start, at(VmState.CRASHED, PANIC), memory)
    assert answer.steps == (Step.DESTROY, *UP)
    assert done(Step.START, start, answer.memory, boot_id=BOOT, now=NOW).restarts == 0


@pytest.mark.parametrize("boot", [BOOT, "the next boot"])
def test_an_ending_is_remembered_when_libvirt_has_forgotten_it(boot: str) -> None:
    """libvirt knows no reason after it or the host was restarted: a guest that shut itself down must stay down nevertheless."""
    memory = look(wanting(Power.RUNNING), at(VmState.STOPPED, OFF)).memory
    answer = plan(wanting(Power.RUNNING), at(VmState.STOPPED), memory, boot_id=boot, now=NOW + 3600)
    assert (answer.steps, answer.state, answer.reason, answer.settled) == ((), VmState.STOPPED, OFF, True)
    start = wanting(Power.RUNNING, power_serial=2, generation=2)
    assert plan(start, at(VmState.STOPPED), answer.memory, boot_id=boot, now=NOW + 3600).steps == UP


@pytest.mark.parametrize("policy", RestartPolicy)
@pytest.mark.parametrize("power", [Power.RUNNING, Power.PAUSED])
def test_a_reboot_of_the_host_starts_what_ran(policy: RestartPolicy, power: Power) -> None:
    answer = plan(wanting(power, policy), at(VmState.STOPPED), RAN, boot_id="the next boot", now=NOW)
    assert answer.steps == (UP_PAUSED if power is Power.PAUSED else UP)


def test_a_reboot_of_the_host_leaves_off_what_was_off() -> None:
    assert plan(wanting(Power.STOPPED), at(VmState.STOPPED), RAN, boot_id="the next boot", now=NOW).settled


def test_an_io_error_is_resumed_once_a_wish() -> None:
    first = look(wanting(Power.RUNNING), at(VmState.PAUSED, IO))
    assert first.steps == (Step.RESUME,)
    second = look(wanting(Power.RUNNING), at(VmState.PAUSED, IO), first.memory)
    assert (second.steps, second.state, second.reason, second.settled) == ((), VmState.PAUSED, IO, True)
    assert look(wanting(Power.RUNNING, power_serial=2, generation=2), at(VmState.PAUSED, IO), second.memory).steps == (Step.RESUME,)


def troubled(remedies: dict[Trouble, Remedy], policy: RestartPolicy = RestartPolicy.ON_FAILURE, **values: Any) -> DesiredVm:
    want = wanting(Power.RUNNING, policy, **values)
    return replace(want, spec=replace(want.spec, on_trouble=remedies))


@pytest.mark.parametrize(
    ("remedies", "policy", "again"),
    [
        ({}, RestartPolicy.ON_FAILURE, True),
        ({}, RestartPolicy.NEVER, False),
        ({Trouble.PANIC: Remedy.RESTART}, RestartPolicy.NEVER, True),
        ({Trouble.PANIC: Remedy.KEEP}, RestartPolicy.ALWAYS, False),
    ],
)
def test_what_is_asked_about_a_panic_goes_before_the_policy(remedies: dict[Trouble, Remedy], policy: RestartPolicy, again: bool) -> None:
    want = troubled(remedies, policy)
    first = look(want, at(VmState.CRASHED, PANIC))
    later = plan(want, at(VmState.CRASHED, PANIC), first.memory, boot_id=BOOT, now=NOW + 60)
    assert (bool(later.steps), later.state) == (again, VmState.CRASHED)
    died = look(want, at(VmState.CRASHED, StateReason.QEMU_DIED))
    assert (died.look_again_seconds is not None) is (policy is not RestartPolicy.NEVER), "of all else that ends it the policy decides"


def test_an_io_error_that_shall_be_kept_is_not_resumed() -> None:
    answer = look(troubled({Trouble.IO_ERROR: Remedy.KEEP}), at(VmState.PAUSED, IO))
    assert (answer.steps, answer.state, answer.reason, answer.settled) == ((), VmState.PAUSED, IO, True)


@pytest.mark.parametrize(("remedies", "steps"), [({}, ()), ({Trouble.MEMORY_FAILURE: Remedy.RESTART}, (Step.RESET,))])
def test_failed_memory_is_answered_once(remedies: dict[Trouble, Remedy], steps: tuple[Step, ...]) -> None:
    want = troubled(remedies)
    first = look(want, at(VmState.RUNNING), hurt(RAN))
    assert (first.steps, first.memory.hurt) == (steps, False)
    assert look(want, at(VmState.RUNNING), first.memory).steps == ()


def test_a_fresh_start_has_nothing_of_the_failed_memory() -> None:
    want = troubled({Trouble.MEMORY_FAILURE: Remedy.RESTART})
    assert not done(Step.START, want, hurt(RAN), boot_id=BOOT, now=NOW).hurt


# Acts that must not repeat


@pytest.mark.parametrize(
    ("serials", "step"), [({"reboot_serial": 1}, Step.REBOOT), ({"reset_serial": 1}, Step.RESET), ({"reboot_serial": 1, "reset_serial": 1}, Step.RESET)]
)
def test_reboot_and_reset_are_done_once(serials: dict[str, int], step: Step) -> None:
    want = wanting(Power.RUNNING, generation=2, **serials)
    first = look(want, at(VmState.RUNNING))
    assert first.steps == (step,)
    assert look(want, at(VmState.RUNNING), first.memory).steps == ()


def test_what_was_asked_before_this_host_had_it_is_not_repeated() -> None:
    want = wanting(Power.RUNNING, reboot_serial=7, reset_serial=3)
    assert look(want, at(VmState.RUNNING), Memory()).steps == ()
    assert look(replace(want, epoch=3), at(VmState.RUNNING), replace(RAN, epoch=1)).steps == ()


def test_a_start_fulfils_the_reboot_that_was_asked_meanwhile() -> None:
    want = wanting(Power.RUNNING, reboot_serial=1)
    memory = done(Step.START, want, look(want, at(VmState.STOPPED)).memory, boot_id=BOOT, now=NOW)
    assert look(want, at(VmState.RUNNING), memory).settled


def test_a_stop_overtakes_a_reboot() -> None:
    memory = look(wanting(Power.STOPPED, reboot_serial=1), at(VmState.STOPPED)).memory
    assert look(wanting(Power.RUNNING, power_serial=2, reboot_serial=1), at(VmState.RUNNING), memory).settled


# Failures


PROBLEM = Problem("disk_full", "make room")


def test_a_failure_ends_the_generation_and_the_next_one_tries_again() -> None:
    memory = failed(Step.CREATE_DISK, wanting(Power.RUNNING), Seen(), Memory(epoch=1), PROBLEM, boot_id=BOOT)
    answer = look(wanting(Power.RUNNING), Seen(), memory)
    assert (answer.steps, answer.state, answer.settled) == ((), VmState.FAILED, True)
    assert answer.memory.error == PROBLEM
    again = look(wanting(Power.RUNNING, generation=2), Seen(), memory)
    assert again.steps == UP
    assert again.memory.error is None


def test_a_reboot_of_the_host_tries_again_what_had_failed() -> None:
    memory = failed(Step.START, wanting(Power.RUNNING), at(VmState.STOPPED), Memory(epoch=1), PROBLEM, boot_id=BOOT)
    assert look(wanting(Power.RUNNING), at(VmState.STOPPED), memory).state is VmState.FAILED
    answer = plan(wanting(Power.RUNNING), at(VmState.STOPPED), memory, boot_id="the next boot", now=NOW)
    assert answer.steps == UP
    assert done(Step.START, wanting(Power.RUNNING), answer.memory, boot_id="the next boot", now=NOW).error is None


@pytest.mark.parametrize("step", [Step.REBOOT, Step.RESET, Step.SUSPEND])
def test_a_verb_that_failed_does_not_keep_the_vm_from_being_restarted(step: Step) -> None:
    want = wanting(Power.PAUSED if step is Step.SUSPEND else Power.RUNNING, generation=2, reboot_serial=1)
    memory = failed(step, want, at(VmState.RUNNING), look(want, at(VmState.RUNNING)).memory, PROBLEM, boot_id=BOOT)
    answer = look(want, at(VmState.RUNNING), memory)
    assert (answer.steps, answer.state, answer.settled) == ((), VmState.RUNNING, True)
    assert answer.memory.error == PROBLEM
    crashed = look(want, at(VmState.CRASHED, DIED), answer.memory)
    assert crashed.look_again_seconds == RESTART_DELAYS_SECONDS[0]
    assert plan(want, at(VmState.STOPPED), answer.memory, boot_id="the next boot", now=NOW).steps


def test_a_wish_that_comes_true_after_all_has_no_error() -> None:
    stop = wanting(Power.STOPPED, generation=2, power_serial=2)
    memory = failed(Step.SHUTDOWN, stop, at(VmState.RUNNING), look(stop, at(VmState.RUNNING)).memory, PROBLEM, boot_id=BOOT)
    stuck = look(stop, at(VmState.RUNNING), memory)
    assert (stuck.steps, stuck.state, stuck.settled, stuck.memory.error) == ((), VmState.RUNNING, True, PROBLEM)
    off = look(stop, at(VmState.STOPPED, OFF), stuck.memory)
    assert (off.steps, off.state, off.settled) == ((), VmState.STOPPED, True)
    assert (off.memory.error, off.memory.error_generation) == (None, 0)
    assert look(stop, at(VmState.RUNNING), off.memory, NOW + PRESS_SECONDS).steps == (Step.SHUTDOWN,), "what is no longer stuck is tried again"


def test_a_reboot_that_failed_says_so_although_something_else_had_failed_before() -> None:
    want = wanting(Power.RUNNING, generation=2, reboot_serial=1)
    memory = failed(Step.START, want, at(VmState.STOPPED), RAN, Problem("other", ""), boot_id=BOOT)
    answer = look(want, at(VmState.RUNNING), memory)  # somebody else started it
    assert answer.steps == (Step.REBOOT,)
    memory = failed(Step.REBOOT, want, at(VmState.RUNNING), answer.memory, PROBLEM, boot_id=BOOT)
    answer = look(want, at(VmState.RUNNING), memory)
    assert (answer.steps, answer.settled, answer.memory.error) == ((), True, PROBLEM)


def test_a_deletion_is_tried_for_ever() -> None:
    want = wanting(Power.RUNNING, deleted=True)
    memory = failed(Step.UNDEFINE, want, at(VmState.STOPPED), RAN, PROBLEM, boot_id=BOOT)
    assert look(want, at(VmState.STOPPED), memory).steps == (Step.UNDEFINE, Step.REMOVE_FILES)


# A world in which plans are carried out


@dataclass
class World:
    """One host with one VM, whose guest follows the power button unless it is deaf. Carries out plans as the loop does."""

    deaf: bool = False
    state: VmState | None = None
    reason: StateReason = StateReason.NONE
    files: bool = False
    epoch: int = 0
    memory: Memory = field(default_factory=Memory)
    boot: str = BOOT
    now: float = NOW
    starts: list[int] = field(default_factory=list)
    reboots: int = 0
    shown: VmState = VmState.ABSENT
    """What users see: each next one has to be lawful."""

    def seen(self) -> Seen:
        return Seen(state=self.state, reason=self.reason, files=self.files, epoch=self.epoch)

    def show(self, state: VmState) -> None:
        assert may_follow(self.shown, state), f"{self.shown.value} -> {state.value}"
        self.shown = state

    def look(self, desired: DesiredVm, fails: set[Step] = frozenset(), *, for_good: bool = False) -> Plan:  # type: ignore[assignment]
        seen = self.seen()
        answer = plan(desired, seen, self.memory, boot_id=self.boot, now=self.now)
        self.memory = answer.memory
        self.show(answer.state)
        for step in answer.steps:
            self.now += 0.1
            self.show(SHOWN[step][0] or answer.state)
            if step in fails:
                if for_good and not desired.deleted:
                    self.memory = failed(step, desired, seen, self.memory, PROBLEM, boot_id=self.boot)
                return answer
            self.act(step, desired)
            self.memory = done(step, desired, self.memory, boot_id=self.boot, now=self.now)
        return answer

    def act(self, step: Step, desired: DesiredVm) -> None:
        if step in (Step.CREATE_DISK, Step.WRITE_SEED):
            self.files = True
        elif step in (Step.START, Step.START_PAUSED):
            assert self.files, "started without a disk"
            assert desired.epoch >= self.memory.epoch, "started at an epoch that was overtaken"
            if self.state not in LIVE:
                self.state, self.reason, self.epoch = (VmState.PAUSED if step is Step.START_PAUSED else VmState.RUNNING), NONE, desired.epoch
                self.starts.append(desired.epoch)
        elif step is Step.SHUTDOWN:
            if self.state is VmState.RUNNING and not self.deaf:
                self.end(VmState.STOPPED, ASKED)
        elif step is Step.DESTROY:
            if self.state in LIVE or (self.state is VmState.CRASHED and self.reason is PANIC):
                self.end(VmState.STOPPED, ASKED)
        elif step is Step.SUSPEND and self.state is VmState.RUNNING:
            self.state = VmState.PAUSED
        elif step is Step.RESUME and self.state is VmState.PAUSED:
            self.state, self.reason = VmState.RUNNING, NONE
        elif step in (Step.REBOOT, Step.RESET):
            self.reboots += 1
        elif step is Step.UNDEFINE:
            self.state, self.epoch = None, 0
        elif step is Step.REMOVE_FILES:
            self.files = False

    def end(self, state: VmState, reason: StateReason) -> None:
        self.state, self.reason = state, reason

    def settle(self, desired: DesiredVm) -> Plan:
        """Until there is nothing to do and nothing to wait for."""
        for _ in range(500):
            answer = self.look(desired)
            if answer.steps:
                continue
            if answer.gone or answer.look_again_seconds is None:
                return answer
            self.now += answer.look_again_seconds
        raise AssertionError(f"it does not come to rest: {answer}")


WISHES = st.sampled_from(["start", "stop", "force", "pause", "reboot", "reset", "change", "grant"])
OUTSIDE = ("virsh_start", "virsh_suspend", "virsh_destroy", "virsh_undefine")
DEEDS = st.sampled_from(["shutdown", "panic", "die", "io_error", "host_reboot", "libvirt_restart", *OUTSIDE, "wait", "forget"])
FAULTS = st.sets(st.sampled_from(Step), max_size=2)


def wish(desired: DesiredVm, word: str) -> DesiredVm:
    desired = replace(desired, generation=desired.generation + 1)
    serial = desired.power_serial + 1
    match word:
        case "start":
            return replace(desired, power=Power.RUNNING, power_serial=serial)
        case "stop":
            return replace(desired, power=Power.STOPPED, power_serial=serial, stop_mode=StopMode.GRACEFUL)
        case "force":
            return replace(desired, power=Power.STOPPED, power_serial=serial, stop_mode=StopMode.FORCE)
        case "pause":
            return replace(desired, power=Power.PAUSED, power_serial=serial)
        case "reboot":
            return replace(desired, reboot_serial=desired.reboot_serial + 1)
        case "reset":
            return replace(desired, reset_serial=desired.reset_serial + 1)
        case "grant":
            return replace(desired, epoch=desired.epoch + 1)
        case _:
            return desired


def deed(world: World, word: str) -> None:
    if word in ("shutdown", "panic", "die", "virsh_destroy") and world.state in LIVE:
        ends = {
            "shutdown": (VmState.STOPPED, OFF),
            "panic": (VmState.CRASHED, PANIC),
            "die": (VmState.CRASHED, DIED),
            "virsh_destroy": (VmState.STOPPED, EXTERNAL),
        }
        world.end(*ends[word])
    elif word == "io_error" and world.state is VmState.RUNNING:
        world.state, world.reason = VmState.PAUSED, IO
    elif word == "host_reboot":
        world.boot = f"{world.boot}+"
        world.state, world.reason = (None if world.state is None else VmState.STOPPED), NONE
    elif word == "libvirt_restart" and world.state not in LIVE:
        world.reason = NONE
    elif word == "virsh_start" and world.state in (VmState.STOPPED, VmState.CRASHED):
        world.state, world.reason = VmState.RUNNING, NONE
    elif word == "virsh_suspend" and world.state is VmState.RUNNING:
        world.state, world.reason = VmState.PAUSED, EXTERNAL
    elif word == "virsh_undefine" and world.state not in LIVE:
        world.state, world.epoch = None, 0
    elif word == "wait":
        world.now += 700.0
    elif word == "forget":
        world.memory = Memory()  # the ledger was lost


@settings(max_examples=400, deadline=None)
@given(
    deaf=st.booleans(),
    policy=st.sampled_from(RestartPolicy),
    history=st.lists(st.tuples(st.one_of(st.tuples(st.just("wish"), WISHES), st.tuples(st.just("deed"), DEEDS)), FAULTS, st.booleans()), max_size=12),
    last=st.sampled_from(["start", "stop", "force", "pause", "delete"]),
)
def test_whatever_happened_the_last_wish_comes_true(
    deaf: bool, policy: RestartPolicy, history: list[tuple[tuple[str, str], set[Step], bool]], last: str
) -> None:
    world, desired = World(deaf=deaf), wanting(Power.RUNNING, policy)
    asked = 0
    for (kind, word), faults, for_good in history:
        if kind == "wish":
            desired = wish(desired, word)
            asked += word in ("reboot", "reset")
        else:
            deed(world, word)
        world.look(desired, faults, for_good=for_good)
    desired = replace(desired, deleted=True, generation=desired.generation + 1) if last == "delete" else wish(desired, last)
    answer = world.settle(desired)
    assert answer.settled
    assert world.reboots <= asked
    assert world.starts == sorted(world.starts), "an epoch was followed by an older one"
    if last == "delete":
        assert answer.gone
        assert (world.state, world.files) == (None, False)
        return
    assert answer.memory.error is None
    assert answer.memory.generation == desired.generation
    assert answer.memory.epoch == desired.epoch
    shown = {"start": VmState.RUNNING, "stop": VmState.STOPPED, "force": VmState.STOPPED, "pause": VmState.PAUSED}[last]
    assert answer.state is shown
    assert (world.state in LIVE) == (last in ("start", "pause"))


@settings(max_examples=300, deadline=None)
@given(
    policy=st.sampled_from(RestartPolicy),
    history=st.lists(st.sampled_from(["start", "stop", "force", "pause", "reboot", "reset", "change", "shutdown", "panic", "die", "host_reboot"]), max_size=10),
)
def test_after_each_event_it_comes_to_rest_and_to_look_again_is_to_do_nothing(policy: RestartPolicy, history: list[str]) -> None:
    world, desired = World(), wanting(Power.RUNNING, policy)
    for word in ["change", *history]:
        ended = word in ("shutdown", "panic", "die")
        if ended or word == "host_reboot":
            deed(world, word)
        else:
            desired = wish(desired, word)
        answer = world.settle(desired)
        assert answer.settled
        assert answer.memory.generation == desired.generation
        if word in ("start", "stop", "force", "pause") or policy is RestartPolicy.ALWAYS:
            wanted = {Power.RUNNING: VmState.RUNNING, Power.PAUSED: VmState.PAUSED, Power.STOPPED: VmState.STOPPED}
            assert answer.state is wanted[desired.power]
        memory, starts = world.memory, len(world.starts)
        assert not world.look(desired).steps
        assert (world.memory, len(world.starts)) == (memory, starts)


@settings(max_examples=200, deadline=None)
@given(
    granted=st.integers(1, 5),
    ordered=st.integers(1, 5),
    seen=st.builds(
        Seen,
        state=st.none() | st.sampled_from([VmState.RUNNING, VmState.STOPPED, VmState.CRASHED, VmState.PAUSED]),
        reason=st.sampled_from(StateReason),
        files=st.booleans(),
    ),
    power=st.sampled_from(Power),
    deleted=st.booleans(),
)
def test_nothing_is_ever_done_for_an_overtaken_epoch(granted: int, ordered: int, seen: Seen, power: Power, deleted: bool) -> None:
    answer = look(wanting(power, epoch=ordered, deleted=deleted), seen, Memory(epoch=granted))
    assert answer.memory.epoch == max(granted, ordered)
    if ordered < granted:
        assert answer.steps == ()
        assert answer.refused is not None
