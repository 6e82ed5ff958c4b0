"""An experiment on a VM, and whatever can break meanwhile does: at every moment of its course. It always ends, with the settings that the VM had before or with a
justified new one; the guest runs with what is asked; nothing is left on any host."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from houyi.control.commands.experiment import ExperimentAsk, cancel_experiment, try_tuning
from houyi.control.commands.migration import MigrationAsk, migrate_vm
from houyi.control.commands.vm import delete_vm, reboot_vm, start_vm, stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.host.port import GuestRun
from houyi.model.errors import Conflict
from houyi.model.experiment import ENDED, Experiment, ExperimentState, Phase, Workload
from houyi.model.ids import VmId
from houyi.model.operation import OperationState
from houyi.model.series import Verdict
from houyi.model.vm import EffectiveState, Power, RestartPolicy, StopMode, Vm, effective
from houyi.planning.tuning.trying import RUNS_MIN
from houyi.store.rows.vm import update_vm
from houyi.store.views.experiment import get_experiment
from houyi.store.views.operation import get_operation
from sim.fleet import heal
from sim.virtual import VirtualLoop
from sim.world import Build, Machine, World

pytestmark = pytest.mark.usefixtures("quiet")

KNOB = {"hpet": "on"}
HOURS = 3 * 3600.0
BROKEN_SECONDS = 45.0


class Tried:
    """A world with one VM whose work takes half as long with the knob, unless it is a placebo."""

    def __init__(self, world: World, ratio: float) -> None:
        self.world, self.ratio = world, ratio
        self.worked = 0
        for machine in world.machines.values():
            machine.sim.program = lambda vm_id, argv, machine=machine: self.work(machine, vm_id)  # type: ignore[misc]

    def work(self, machine: Machine, vm_id: VmId) -> tuple[float, GuestRun]:
        self.worked += 1
        helped = machine.sim.domains[vm_id].vm.spec.knobs == KNOB
        seconds = (3.0 + 0.02 * (self.worked % 4)) * (self.ratio if helped else 1.0)
        return seconds, GuestRun(exit_code=0, output='{"work": 1000}\n', complaint="")

    async def begin(self, **ask: object) -> None:
        whole = {"vcpus": 1, "memory_mib": 256, "disk_gib": 1, "restart_policy": RestartPolicy.ALWAYS}
        vm, _ = await create_vm(self.world.control, self.world.ctx, VmAsk(name="vm", image="disk", **whole))  # type: ignore[arg-type]
        self.vm_id = vm.desired.id
        await self.until(self.runs, 120.0)
        await self.try_it(**ask)

    async def try_it(self, **ask: object) -> None:
        values = {"knobs": KNOB, "workload": Workload(argv=("work",), seconds=60.0), "runs": RUNS_MIN, "restart": True, "keep": True, "settle_seconds": 1.0}
        asked = ExperimentAsk(**{**values, **ask})  # type: ignore[arg-type]
        self.experiment, self.operation = await try_tuning(self.world.control, self.world.ctx, self.vm_id, asked)

    async def vm(self) -> Vm | None:
        return next((vm for vm in await self.world.vms() if vm.desired.id == self.vm_id), None)

    async def runs(self) -> bool:
        vm = await self.vm()
        return vm is not None and effective(vm) is EffectiveState.RUNNING and vm.observed is not None and vm.observed.generation >= vm.desired.generation

    async def now(self) -> Experiment:
        return await self.world.store.read(lambda c: get_experiment(c, self.experiment.id, None))

    async def ended(self) -> bool:
        return (await self.now()).course.state in ENDED

    async def until(self, true: Callable[[], Awaitable[bool]], seconds: float, what: str = "") -> None:
        end = self.world.clock.monotonic() + seconds
        while not (self.world.up and await true()):
            assert self.world.clock.monotonic() < end, (
                f"not within {seconds:g} s: {what} {await self.now() if hasattr(self, 'experiment') else ''}\n{await self.vm()}"
            )
            await asyncio.sleep(0.25)

    async def come(self, moment: str) -> None:
        async def is_now() -> bool:
            return MOMENTS[moment](await self.now())

        await self.until(is_now, 900.0, moment)

    @property
    def home(self) -> Machine:
        return next(machine for machine in self.world.machines.values() if machine.sim.running(self.vm_id) or self.vm_id in machine.sim.disks)

    async def justified(self) -> None:
        """What must be true in the end, whatever happened."""
        await asyncio.sleep(60.0)
        ended, vm = await self.now(), await self.vm()
        operation = await self.world.store.read(lambda c: get_operation(c, self.operation.id, None))
        assert operation.state is {
            ExperimentState.DONE: OperationState.DONE,
            ExperimentState.FAILED: OperationState.FAILED,
            ExperimentState.CANCELLED: OperationState.CANCELLED,
        }.get(ended.course.state)
        for machine in self.world.machines.values():
            assert os.listdir(machine.settings.state_dir / "agent" / "ledger" / "trials") == []
        if vm is None:
            return
        if ended.course.kept:
            assert ended.course.judgement is not None
            assert ended.course.judgement.keeps
        asked = vm.desired.spec.knobs
        assert asked in (KNOB if ended.course.kept else {}, THEIRS), (asked, ended.course)
        if vm.desired.power is Power.RUNNING:
            await self.until(self.runs, 300.0, "it does not run")
            runs_with = self.home.sim.domains[self.vm_id].vm.spec.knobs
            assert runs_with in ((asked, {}) if asked == THEIRS else (asked,)), "what somebody else asks for may wait for its next start; nothing else may run"
        assert not await self.world.open_operations()


THEIRS = {"pit": "on"}
Fault = Callable[[Tried], Awaitable[None]]
Moment = Callable[[Experiment], bool]


async def server_dies(tried: Tried) -> None:
    await tried.world.kill_server()


async def agent_dies(tried: Tried) -> None:
    await tried.home.kill()


async def host_reboots(tried: Tried) -> None:
    await tried.home.reboot()


async def libvirtd_dies(tried: Tried) -> None:
    tried.home.sim.lose_libvirt()


async def guest_dies(tried: Tried) -> None:
    if tried.home.sim.running(tried.vm_id):
        tried.home.sim.kill_qemu(tried.vm_id)


async def host_is_cut(tried: Tried) -> None:
    tried.home.reachable = False
    tried.home.cut()


async def user_cancels(tried: Tried) -> None:
    with suppress(Conflict):  # it may be too late
        await cancel_experiment(tried.world.control, tried.world.ctx, tried.experiment.id)


async def user_stops(tried: Tried) -> None:
    await stop_vm(tried.world.control, tried.world.ctx, tried.vm_id, mode=StopMode.FORCE)


async def user_starts(tried: Tried) -> None:
    await start_vm(tried.world.control, tried.world.ctx, tried.vm_id)


async def user_reboots(tried: Tried) -> None:
    with suppress(Conflict):  # it may be down
        await reboot_vm(tried.world.control, tried.world.ctx, tried.vm_id)


async def user_deletes(tried: Tried) -> None:
    await delete_vm(tried.world.control, tried.world.ctx, tried.vm_id)


async def user_changes_it(tried: Tried) -> None:
    vm = await tried.vm()
    assert vm is not None
    theirs = replace(vm.desired, spec=replace(vm.desired.spec, knobs=THEIRS), generation=vm.desired.generation + 1)
    await tried.world.store.apply([update_vm(theirs, vm.protected)])


async def it_moves(tried: Tried) -> None:
    to = next(machine.name for machine in tried.world.machines.values() if machine is not tried.home)
    with suppress(Conflict):  # it may be between two states
        await migrate_vm(tried.world.control, tried.world.ctx, tried.vm_id, MigrationAsk(to=to))


FAULTS: tuple[Fault, ...] = (
    *(server_dies, agent_dies, host_reboots, libvirtd_dies, guest_dies, host_is_cut),
    *(user_cancels, user_stops, user_starts, user_reboots, user_deletes, user_changes_it, it_moves),
)

MOMENTS: Mapping[str, Moment] = {
    "first stop": lambda one: one.course.phase is Phase.STOPPING and not one.course.runs,
    "first run": lambda one: one.course.ordered and not one.course.runs,
    "start with the change": lambda one: one.course.phase is Phase.STARTING and len(one.course.runs) == 1,
    "run with the change": lambda one: one.course.ordered and len(one.course.runs) == 3,
    "stop before going back": lambda one: one.course.phase is Phase.STOPPING and len(one.course.runs) == 5,
    "keeping": lambda one: one.course.state is ExperimentState.KEEPING,
    "rolling back": lambda one: one.course.state is ExperimentState.ROLLING_BACK,
}


@asynccontextmanager
async def tried_in(folder: Path, ratio: float) -> AsyncIterator[Tried]:
    world = World(0, folder, Build(reconcile_seconds=2.0))
    await world.open()
    try:
        yield Tried(world, ratio)
        world.witness.verdict()
    finally:
        await world.close()


def live(story: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story())  # type: ignore[arg-type]


@pytest.mark.parametrize(("ratio", "verdict", "kept"), [(0.5, Verdict.BETTER, True), (1.0, Verdict.NO_DIFFERENCE, False), (2.0, Verdict.WORSE, False)])
def test_as_planned(ratio: float, verdict: Verdict, kept: bool, memory: Path) -> None:
    async def story() -> None:
        async with tried_in(memory, ratio) as tried:
            await tried.begin()
            await tried.until(tried.ended, HOURS)
            ended = await tried.now()
            assert ended.course.judgement is not None
            assert (ended.course.judgement.verdict, ended.course.kept, ended.course.voided) == (verdict, kept, 0)
            assert len(ended.course.runs) == RUNS_MIN
            assert ended.course.judgement.effects[0].name == "cpu_per_work"
            await tried.justified()

    live(story)


def test_observing_what_can_be_changed_live(memory: Path) -> None:
    """Without a word to the guest, and without a restart."""

    async def story() -> None:
        async with tried_in(memory, 1.0) as tried:
            await tried.begin(knobs={"io_poll_ns": "50000"}, restart=False, workload=Workload(seconds=10.0))
            await tried.until(tried.ended, HOURS)
            ended = await tried.now()
            assert (ended.course.state, ended.course.kept) == (ExperimentState.DONE, False)
            assert tried.worked == 0
            assert tried.home.sim.calls.count(("start", tried.vm_id)) == 1
            await tried.justified()

    live(story)


def test_a_workload_that_is_not_there(memory: Path) -> None:
    async def story() -> None:
        async with tried_in(memory, 1.0) as tried:
            for machine in tried.world.machines.values():
                machine.sim.program = lambda _vm_id, argv: (0.1, GuestRun(exit_code=127, output="", complaint=f"{argv[0]}: not found"))
            await tried.begin()
            await tried.until(tried.ended, HOURS)
            error = (await tried.now()).course.error
            assert error is not None
            assert (error.code, "work: not found" in error.detail) == ("workload_failed", True)
            await tried.justified()

    live(story)


EVERY = [(fault, moment) for fault in FAULTS for moment in MOMENTS]
CELLS = EVERY if os.environ.get("HOUYI_SIM_EXPERIMENTS") == "all" else [(fault, list(MOMENTS)[number % len(MOMENTS)]) for number, fault in enumerate(FAULTS)]
"""Each fault, and each moment; `HOUYI_SIM_EXPERIMENTS=all pytest tests/sim/test_experiments.py` for each fault at each moment."""


@pytest.mark.parametrize(("fault", "moment"), CELLS, ids=[f"{fault.__name__}-{moment.replace(' ', '-')}" for fault, moment in CELLS])
def test_what_breaks_at_any_moment(fault: Fault, moment: str, memory: Path) -> None:
    async def story() -> None:
        async with tried_in(memory, 0.5) as tried:
            await tried.begin()
            if moment == "rolling back":
                await tried.come("run with the change")
                await user_cancels(tried)
            await tried.come(moment)
            await fault(tried)
            await asyncio.sleep(BROKEN_SECONDS)
            await heal(tried.world)
            await tried.until(tried.ended, HOURS)
            await tried.justified()

    live(story)


def test_after_one_comes_another(memory: Path) -> None:
    async def story() -> None:
        async with tried_in(memory, 1.0) as tried:
            await tried.begin()
            with pytest.raises(Conflict, match="cancel it"):
                await tried.try_it()
            first = tried.experiment
            await cancel_experiment(tried.world.control, tried.world.ctx, first.id)
            await tried.until(tried.ended, HOURS)
            await tried.until(tried.runs, 60.0)
            await tried.try_it()
            assert tried.experiment.id != first.id
            await tried.until(tried.ended, HOURS)
            await tried.justified()

    live(story)
