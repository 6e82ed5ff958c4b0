"""The life of a VM on its host, decided without hands: each rule of RFD 1, and a guest that does what it likes."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.ids import ImageId, ProjectId, VmId
from houyi.model.vm import DesiredVm, Power, RestartPolicy, StateReason, StopMode, VmSpec, VmState
from houyi.planning.lifecycle import PREPARE, RESTART_DELAYS_SECONDS, STEADY_SECONDS, Memory, Plan, Seen, Step, done, failed, plan

SPEC = VmSpec(image_id=ImageId("i"), vcpus=1, memory_mib=128, disk_gib=1)
VM = DesiredVm(id=VmId("v"), project_id=ProjectId("p"), name="n", epoch=1, generation=1, spec=SPEC, power=Power.RUNNING)
RUNNING = Seen(state=VmState.RUNNING, files=True)
OFF = Seen(state=VmState.STOPPED, files=True)
SHUT = Seen(state=VmState.STOPPED, reason=StateReason.GUEST_SHUTDOWN, files=True)
PANICKED = Seen(state=VmState.CRASHED, reason=StateReason.GUEST_PANIC, files=True)
RAN = Memory(epoch=1, started_serial=1, started_boot="b", started_at=900.0)


def ask(desired: DesiredVm = VM, seen: Seen = RUNNING, memory: Memory = RAN, *, boot: str = "b", now: float = 1000.0) -> Plan:
    return plan(desired, seen, memory, boot_id=boot, now=now)


def policy(value: RestartPolicy) -> DesiredVm:
    return replace(VM, spec=replace(SPEC, restart_policy=value))


def test_a_new_vm_is_prepared_and_started() -> None:
    answer = ask(seen=Seen(), memory=Memory())
    assert answer.steps == (*PREPARE, Step.START)
    assert not answer.settled


def test_a_vm_that_is_created_stopped_is_only_prepared() -> None:
    answer = ask(replace(VM, power=Power.STOPPED), Seen(), Memory())
    assert answer.steps == PREPARE
    assert ask(replace(VM, power=Power.STOPPED), Seen(files=True), Memory()).settled


def test_running_as_wished_is_in_force() -> None:
    answer = ask()
    assert (answer.steps, answer.settled, answer.state, answer.memory.generation) == ((), True, VmState.RUNNING, 1)


def test_an_older_epoch_is_refused_whatever_it_asks() -> None:
    for desired in (VM, replace(VM, deleted=True), replace(VM, power=Power.STOPPED)):
        answer = ask(desired, OFF, replace(RAN, epoch=2))
        assert answer.steps == ()
        assert answer.refused is not None
        assert answer.refused.code == "epoch_old"
        assert answer.memory == replace(RAN, epoch=2)


@pytest.mark.parametrize("power", [Power.RUNNING, Power.PAUSED])
def test_pause_and_resume(power: Power) -> None:
    desired = replace(VM, power=power, power_serial=2)
    assert ask(desired, RUNNING).steps == ((Step.SUSPEND,) if power is Power.PAUSED else ())
    assert ask(desired, replace(RUNNING, state=VmState.PAUSED)).steps == (() if power is Power.PAUSED else (Step.RESUME,))
    assert ask(desired, Seen(), Memory()).steps[-1] is (Step.START_PAUSED if power is Power.PAUSED else Step.START)


@pytest.mark.parametrize(("field_", "step"), [("reboot_serial", Step.REBOOT), ("reset_serial", Step.RESET)])
def test_a_reboot_is_done_once_however_often_it_is_heard(field_: str, step: Step) -> None:
    desired = replace(VM, generation=2, **{field_: 1})
    first = ask(desired)
    assert first.steps == (step,)
    assert ask(desired, memory=first.memory).steps == ()
    assert ask(desired, memory=first.memory).settled


def test_a_reboot_that_was_asked_before_it_came_here_is_not_repeated() -> None:
    desired = replace(VM, epoch=2, reboot_serial=3, reset_serial=1)
    assert ask(desired, RUNNING, Memory()).steps == ()


def test_a_reset_stands_for_a_reboot_that_was_asked_too() -> None:
    desired = replace(VM, reboot_serial=1, reset_serial=1)
    first = ask(desired)
    assert first.steps == (Step.RESET,)
    assert ask(desired, memory=first.memory).steps == ()


class TestStop:
    DESIRED = replace(VM, power=Power.STOPPED, power_serial=2, generation=2, grace_seconds=60)

    def test_the_button_is_pressed_again_and_then_it_is_forced(self) -> None:
        first = ask(self.DESIRED)
        assert (first.steps, first.state) == ((Step.SHUTDOWN,), VmState.STOPPING)
        waiting = ask(self.DESIRED, replace(RUNNING, state=VmState.STOPPING), first.memory, now=1001)
        assert waiting.steps == ()
        assert waiting.look_again_seconds is not None
        again = ask(self.DESIRED, RUNNING, waiting.memory, now=1006)
        assert again.steps == (Step.SHUTDOWN,)
        assert ask(self.DESIRED, RUNNING, again.memory, now=1060).steps == (Step.DESTROY,)

    def test_a_paused_guest_is_woken_to_hear_it(self) -> None:
        assert ask(self.DESIRED, replace(RUNNING, state=VmState.PAUSED)).steps == (Step.RESUME, Step.SHUTDOWN)

    def test_force_does_not_ask(self) -> None:
        assert ask(replace(self.DESIRED, stop_mode=StopMode.FORCE)).steps == (Step.DESTROY,)

    def test_then_it_is_stopped(self) -> None:
        assert ask(self.DESIRED, OFF).settled
        assert ask(self.DESIRED, OFF).state is VmState.STOPPED

    def test_a_second_stop_has_a_grace_period_of_its_own(self) -> None:
        memory = replace(RAN, stopping_serial=2, stopping_since=100.0)
        assert ask(replace(self.DESIRED, power_serial=4), RUNNING, memory).steps == (Step.SHUTDOWN,)

    def test_a_start_after_the_button_was_pressed_is_done_when_the_guest_has_ended(self) -> None:
        pressed = ask(self.DESIRED).memory
        wish = replace(VM, power_serial=3, generation=3)
        during = ask(wish, replace(RUNNING, state=VmState.STOPPING), pressed, now=1001)
        assert during.steps == ()
        after = ask(wish, replace(OFF, reason=StateReason.REQUESTED), during.memory, now=1002)
        assert after.steps[-1] is Step.START

    def test_what_crashed_is_cleared_away(self) -> None:
        assert ask(self.DESIRED, PANICKED).steps == (Step.DESTROY,)


class TestRestartPolicy:
    @pytest.mark.parametrize(
        ("value", "seen", "again"),
        [
            (RestartPolicy.ALWAYS, SHUT, True),
            (RestartPolicy.ALWAYS, PANICKED, True),
            (RestartPolicy.ON_FAILURE, SHUT, False),
            (RestartPolicy.ON_FAILURE, PANICKED, True),
            (RestartPolicy.NEVER, SHUT, False),
            (RestartPolicy.NEVER, PANICKED, False),
        ],
    )
    def test_who_is_started_again(self, value: RestartPolicy, seen: Seen, again: bool) -> None:
        first = ask(policy(value), seen)
        assert first.steps == ()
        assert first.state is seen.state
        later = ask(policy(value), seen, first.memory, now=1000 + RESTART_DELAYS_SECONDS[0])
        assert (Step.START in later.steps) is again
        assert later.memory.restarts == (1 if again else 0)

    def test_delays_grow_and_stay(self) -> None:
        memory, now, delays = RAN, 1000.0, []
        for _ in range(9):
            waiting = ask(VM, PANICKED, memory, now=now)
            assert waiting.look_again_seconds is not None
            delays.append(waiting.look_again_seconds)
            now += waiting.look_again_seconds
            start = ask(VM, PANICKED, waiting.memory, now=now)
            assert Step.START in start.steps
            memory = done(Step.START, VM, start.memory, boot_id="b", now=now)
        assert delays == [*RESTART_DELAYS_SECONDS, 60.0, 60.0]

    def test_a_steady_run_begins_again_at_the_first_delay(self) -> None:
        memory = replace(RAN, restarts=5, started_at=1000.0)
        steady = ask(VM, PANICKED, memory, now=1000 + STEADY_SECONDS)
        assert steady.look_again_seconds == RESTART_DELAYS_SECONDS[0]

    def test_start_works_again_after_a_shutdown_from_inside(self) -> None:
        down = ask(VM, SHUT)
        assert down.settled
        assert Step.START in ask(replace(VM, power_serial=2, generation=2), SHUT, down.memory).steps

    def test_start_works_again_after_a_crash_that_nobody_restarts(self) -> None:
        down = ask(policy(RestartPolicy.NEVER), PANICKED)
        answer = ask(replace(policy(RestartPolicy.NEVER), power_serial=2, generation=2), PANICKED, down.memory)
        assert answer.steps == (Step.DESTROY, *PREPARE, Step.START)

    def test_a_reboot_of_the_host_is_no_ending_of_the_guest(self) -> None:
        answer = ask(policy(RestartPolicy.NEVER), OFF, boot="another")
        assert answer.steps[-1] is Step.START


class TestFailure:
    PROBLEM = Problem("disk_full", "free space")

    def test_it_waits_for_a_new_generation(self) -> None:
        memory = failed(VM, RAN, self.PROBLEM)
        answer = ask(VM, Seen(), memory)
        assert (answer.steps, answer.state) == ((), VmState.FAILED)
        again = ask(replace(VM, generation=2), Seen(), memory)
        assert again.steps == (*PREPARE, Step.START)
        assert again.memory.error is None

    def test_a_running_vm_stays_running_when_a_change_failed(self) -> None:
        assert ask(VM, RUNNING, failed(VM, RAN, self.PROBLEM)).state is VmState.RUNNING

    def test_a_deletion_is_tried_again(self) -> None:
        desired = replace(VM, deleted=True)
        assert ask(desired, OFF, failed(desired, RAN, self.PROBLEM)).steps == (Step.UNDEFINE, Step.REMOVE_FILES)


class TestDelete:
    DESIRED = replace(VM, deleted=True)

    @pytest.mark.parametrize("seen", [RUNNING, OFF, PANICKED])
    def test_everything_goes(self, seen: Seen) -> None:
        answer = ask(self.DESIRED, seen)
        assert answer.steps == (Step.UNDEFINE, Step.REMOVE_FILES)
        assert not answer.gone

    def test_it_is_gone_only_when_nothing_is_left(self) -> None:
        assert ask(self.DESIRED, Seen(files=True)).steps == (Step.REMOVE_FILES,)
        assert ask(self.DESIRED, Seen()).gone


@dataclass
class World:
    """A machine that always obeys, with a guest that ends whenever it is told to."""

    seen: Seen = field(default_factory=Seen)
    memory: Memory = field(default_factory=Memory)
    now: float = 1000.0
    acts: list[Step] = field(default_factory=list)

    def act(self, step: Step, desired: DesiredVm) -> None:
        self.acts.append(step)
        match step:
            case Step.CREATE_DISK:
                self.seen = replace(self.seen, files=True)
            case Step.START | Step.RESUME if step is Step.START or self.seen.state is VmState.PAUSED:
                self.seen = RUNNING
            case Step.START_PAUSED | Step.SUSPEND:
                self.seen = replace(RUNNING, state=VmState.PAUSED)
            case Step.SHUTDOWN | Step.DESTROY if self.seen.state is not None:
                self.seen = replace(OFF, reason=StateReason.REQUESTED)
            case Step.UNDEFINE:
                self.seen = Seen(files=self.seen.files)
            case Step.REMOVE_FILES:
                self.seen = replace(self.seen, files=False)
            case _:
                pass
        self.memory = done(step, desired, self.memory, boot_id="b", now=self.now)

    def settle(self, desired: DesiredVm) -> Plan:
        for _ in range(50):
            answer = plan(desired, self.seen, self.memory, boot_id="b", now=self.now)
            self.memory = answer.memory
            for step in answer.steps:
                self.act(step, desired)
            if not answer.steps:
                if answer.look_again_seconds is None:
                    return answer
                self.now += answer.look_again_seconds
        raise AssertionError(f"it does not come to rest: {self.acts[-20:]}")


VERBS = st.sampled_from(["start", "stop", "force", "pause", "reboot", "reset", "panic", "shutdown", "die", "delete"])


@settings(max_examples=500)
@given(st.lists(VERBS, max_size=12), st.sampled_from(RestartPolicy))
def test_whatever_happens_it_comes_to_rest_where_it_was_wished(verbs: list[str], restart: RestartPolicy) -> None:
    desired, world = policy(restart), World()
    world.settle(desired)
    for verb in verbs:
        wished = verb not in {"panic", "shutdown", "die"}
        desired = _wish(desired, verb)
        if not wished and world.seen.state in {VmState.RUNNING, VmState.PAUSED}:
            world.seen = {"panic": PANICKED, "shutdown": SHUT, "die": replace(PANICKED, reason=StateReason.QEMU_DIED)}[verb]
        rest = world.settle(desired)
        if desired.deleted:
            assert rest.gone
            assert world.seen == Seen()
            return
        assert rest.settled
        assert rest.memory.generation == desired.generation
        if wished or restart is RestartPolicy.ALWAYS:
            power = {Power.RUNNING: VmState.RUNNING, Power.PAUSED: VmState.PAUSED, Power.STOPPED: VmState.STOPPED}[desired.power]
            if verb not in {"reboot", "reset"} or rest.state is VmState.RUNNING:
                assert rest.state is power
    again = len(world.acts)
    world.settle(desired)
    assert len(world.acts) == again, "to look again is to do nothing"


def _wish(desired: DesiredVm, verb: str) -> DesiredVm:
    grown = replace(desired, generation=desired.generation + 1)
    powered = replace(grown, power_serial=desired.power_serial + 1)
    match verb:
        case "start":
            return replace(powered, power=Power.RUNNING)
        case "pause":
            return replace(powered, power=Power.PAUSED)
        case "stop":
            return replace(powered, power=Power.STOPPED, stop_mode=StopMode.GRACEFUL)
        case "force":
            return replace(powered, power=Power.STOPPED, stop_mode=StopMode.FORCE)
        case "reboot":
            return replace(grown, reboot_serial=desired.reboot_serial + 1)
        case "reset":
            return replace(grown, reset_serial=desired.reset_serial + 1)
        case "delete":
            return replace(grown, deleted=True)
        case _:
            return desired
