"""A platform whose life is drawn from a seed: what users ask, what guests do, what breaks; and what must be true all the time and in the end."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from houyi.control.commands.vm import delete_vm, pause_vm, reboot_vm, reset_vm, resume_vm, start_vm, stop_vm
from houyi.control.commands.vm_create import VmAsk, create_vm
from houyi.model.errors import Failed, HouyiError, Unavailable
from houyi.model.ids import VmId
from houyi.model.vm import EffectiveState, Power, RestartPolicy, StopMode, Vm, VmState, effective
from sim.world import Machine, World

QUIET_SECONDS = 240.0
"""After the last fault and wish: longer than any grace period, delay and lease together."""
ON = frozenset({VmState.RUNNING, VmState.PAUSED})


class Monitor:
    """What must be true at every moment. `check` raises AssertionError."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.looks = 0

    async def check(self) -> None:
        self.looks += 1
        world = self._world
        running: dict[VmId, list[Machine]] = {}
        for machine in world.machines.values():
            unlawful = [sample.labels for metric in machine.counts.unlawful.collect() for sample in metric.samples if sample.name.endswith("_total")]
            assert not unlawful, f"states that may not follow one another on {machine.name}: {unlawful}"
            for vm_id, domain in machine.sim.domains.items():
                if domain.state in ON:
                    running.setdefault(vm_id, []).append(machine)
        for vm_id, machines in running.items():
            assert len(machines) == 1, f"VM {vm_id} runs on {[machine.name for machine in machines]}"
        for kind in ("reboot", "reset"):
            done = Counter(about for machine in world.machines.values() for call, about in machine.sim.calls if call == kind)
            for about, count in done.items():
                assert count <= world.asked[kind, about], f"{kind} of VM {about} asked {world.asked[kind, about]} times, done {count} times"
        if not world.up:
            return
        vms = {vm.desired.id: vm for vm in await world.vms()}
        for vm_id, (machine,) in ((vm_id, tuple(machines)) for vm_id, machines in running.items()):
            vm = vms.get(vm_id)
            assert vm is not None, f"VM {vm_id} is forgotten and runs on {machine.name}"
            assert vm.host_id == machine.host_id, f"VM {vm_id} runs on {machine.name}, which does not hold its claim"
            assert machine.sim.domains[vm_id].vm.epoch == vm.desired.epoch, f"VM {vm_id} runs at an epoch that was not granted"

    async def watch(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(1.0)


class Schedule:
    """Users, guests and faults, drawn from the seed."""

    def __init__(self, world: World) -> None:
        self.world, self.chance = world, world.chance
        self._number = 0
        self._healing: set[asyncio.Task[None]] = set()

    async def run(self, events: int) -> None:
        for _ in range(events):
            await asyncio.sleep(self.chance.choice((0.0, 0.1, 1.0, 5.0, 20.0)))
            await self.chance.choice((self._user, self._user, self._user, self._guest, self._fault))()
        for task in list(self._healing):
            await task

    async def last_wishes(self) -> None:
        """One more wish for every VM, now that nothing breaks any more."""
        for vm in await self.world.vms():
            if not vm.desired.deleted:
                verbs = [self._stop, self._delete, self._resume if effective(vm) is EffectiveState.PAUSED else self._start]
                await self._say(vm, self.chance.choice(verbs))

    async def _user(self) -> None:
        if not self.world.up:
            return
        vms = [vm for vm in await self.world.vms() if not vm.desired.deleted]
        if not vms or (len(vms) < 5 and self.chance.random() < 0.3):
            await self._create()
            return
        verbs = (self._start, self._stop, self._stop, self._force_stop, self._pause, self._resume, self._reboot, self._reset, self._delete)
        await self._say(self.chance.choice(vms), self.chance.choice(verbs))

    async def _create(self) -> None:
        self._number += 1
        ask = VmAsk(
            name=f"vm-{self._number}",
            image="disk",
            vcpus=1,
            memory_mib=128,
            disk_gib=1,
            start=self.chance.random() < 0.8,
            restart_policy=self.chance.choice(list(RestartPolicy)),
        )
        with suppress(HouyiError):
            await create_vm(self.world.control, self.world.ctx, ask)
            self.world.tell(f"create {ask.name} start={ask.start} {ask.restart_policy.value}")

    async def _say(self, vm: Vm, verb: Callable[[Vm], Awaitable[object]]) -> None:
        try:
            await verb(vm)
            self.world.tell(f"{verb.__name__} {vm.desired.name}")
        except HouyiError as refused:
            self.world.tell(f"{verb.__name__} {vm.desired.name} refused: {refused.code}")

    async def _start(self, vm: Vm) -> None:
        await start_vm(self.world.control, self.world.ctx, vm.desired.id)

    async def _stop(self, vm: Vm) -> None:
        await stop_vm(self.world.control, self.world.ctx, vm.desired.id, grace_seconds=self.chance.choice((0, 3, 30)))

    async def _force_stop(self, vm: Vm) -> None:
        await stop_vm(self.world.control, self.world.ctx, vm.desired.id, mode=StopMode.FORCE)

    async def _pause(self, vm: Vm) -> None:
        await pause_vm(self.world.control, self.world.ctx, vm.desired.id)

    async def _resume(self, vm: Vm) -> None:
        await resume_vm(self.world.control, self.world.ctx, vm.desired.id)

    async def _reboot(self, vm: Vm) -> None:
        await reboot_vm(self.world.control, self.world.ctx, vm.desired.id)
        self.world.asked["reboot", vm.desired.id] += 1

    async def _reset(self, vm: Vm) -> None:
        await reset_vm(self.world.control, self.world.ctx, vm.desired.id)
        self.world.asked["reset", vm.desired.id] += 1

    async def _delete(self, vm: Vm) -> None:
        await delete_vm(self.world.control, self.world.ctx, vm.desired.id)

    async def _guest(self) -> None:
        machine = self.chance.choice(list(self.world.machines.values()))
        on = sorted(vm_id for vm_id, domain in machine.sim.domains.items() if domain.state is VmState.RUNNING)
        if not on:
            return
        vm_id = self.chance.choice(on)
        deed = self.chance.choice(("guest_shutdown", "guest_reboot", "guest_panic", "kill_qemu", "io_error", "external_destroy", "deafen"))
        self.world.tell(f"{deed} {vm_id} on {machine.name}")
        if deed == "deafen":
            machine.sim.deaf.add(vm_id)
        else:
            getattr(machine.sim, deed)(vm_id)

    async def _fault(self) -> None:
        machine = self.chance.choice(list(self.world.machines.values()))
        faults = (self._cut, self._partition, self._kill_agent, self._reboot_host, self._lose_libvirt, self._fail_call, self._kill_server)
        await self.chance.choice(faults)(machine)

    def _heal(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            await act()

        task = asyncio.create_task(later())
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    def _soon(self, doing: Awaitable[None]) -> None:
        task = asyncio.ensure_future(doing)
        self._healing.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._healing.discard)  # type: ignore[arg-type]

    def _while(self) -> float:
        return self.chance.choice((0.05, 1.0, 10.0, 60.0))

    async def _cut(self, machine: Machine) -> None:
        self.world.tell(f"cut {machine.name}")
        machine.cut()

    async def _partition(self, machine: Machine) -> None:
        self.world.tell(f"partition {machine.name}")
        machine.reachable = False
        machine.cut()

        async def heal() -> None:
            machine.reachable = True

        self._heal(self._while(), heal)

    async def _kill_agent(self, machine: Machine) -> None:
        await self._down(machine, machine.kill, "kill agent of")

    async def _reboot_host(self, machine: Machine) -> None:
        await self._down(machine, machine.reboot, "reboot")

    async def _down(self, machine: Machine, act: Callable[[], Awaitable[None]], word: str) -> None:
        if not machine.alive:
            return
        self.world.tell(f"{word} {machine.name}")
        await act()

        async def heal() -> None:
            if not machine.alive:
                machine.start()

        self._heal(self._while(), heal)

    async def _lose_libvirt(self, machine: Machine) -> None:
        if not machine.sim.connected:
            return
        self.world.tell(f"libvirt of {machine.name} away")
        machine.sim.lose_libvirt()

        async def heal() -> None:
            if not machine.sim.connected:
                machine.sim.restore_libvirt()

        self._heal(self._while(), heal)

    async def _fail_call(self, machine: Machine) -> None:
        call = self.chance.choice(("start", "shutdown", "destroy", "suspend", "resume", "reboot", "reset", "undefine", "fetch_image", "create_disk", "ensure"))
        error = self.chance.choice((Failed("libvirt_failed", "simulated"), Unavailable("libvirt_away", "simulated")))
        self.world.tell(f"next {call} on {machine.name} fails: {type(error).__name__}")
        machine.sim.fail_next(call, error)

    async def _kill_server(self, _machine: Machine) -> None:
        if not self.world.up:
            return
        self.world.tell("kill server")
        await self.world.kill_server()
        self._heal(self._while(), self.world.start_server)


async def settled(world: World) -> None:
    """Everything is as it was wished last, on the machines and in the store, and every operation has ended."""
    vms = await world.vms()
    known = {vm.desired.id for vm in vms}
    for machine in world.machines.values():
        left = (machine.sim.domains.keys() | machine.sim.disks.keys() | machine.sim.seeds.keys()) - known
        assert not left, f"something of {left} is left on {machine.name}"
    for vm in vms:
        assert not vm.desired.deleted, f"{vm.desired.name} is still being deleted"
        machine = next(machine for machine in world.machines.values() if machine.host_id == vm.host_id)
        domain = machine.sim.domains.get(vm.desired.id)
        state = domain.state if domain is not None else VmState.STOPPED
        wanted = {Power.RUNNING: {VmState.RUNNING}, Power.PAUSED: {VmState.PAUSED}, Power.STOPPED: {VmState.STOPPED, VmState.CRASHED}}[vm.desired.power]
        assert state in wanted, f"{vm.desired.name} shall be {vm.desired.power.value} and is {state.value}"
        assert vm.observed is not None
        assert vm.observed.generation == vm.desired.generation, f"{vm.desired.name}: {vm.observed}"
        if vm.observed.error is not None:  # a reboot or reset that failed is never done, and says so until there is another wish
            operations = await world.operations_on(vm)
            told = [one.verb for one in operations if (one.target_generation, one.error) == (vm.desired.generation, vm.observed.error)]
            assert {"vm.reboot", "vm.reset"} & set(told), f"{vm.desired.name}: {vm.observed.error}"
    assert not await world.open_operations()


async def simulate(seed: int, folder: Path, events: int) -> World:
    """Live through one seed. :raise AssertionError: something that must be true was not."""
    world = World(seed, folder)
    await world.open()
    schedule, monitor = Schedule(world), Monitor(world)
    watching = asyncio.create_task(monitor.watch())
    try:
        await schedule.run(events)
        if not world.up:
            await world.start_server()
        await asyncio.sleep(60.0)  # hosts are back and have said what they have
        for machine in world.machines.values():
            machine.sim._faults.clear()
        await schedule.last_wishes()
        await asyncio.sleep(QUIET_SECONDS)
        if watching.done():
            watching.result()
        await settled(world)
    except AssertionError as error:
        story = "\n".join(world.acts)
        raise AssertionError(f"seed {seed}: {error}\n{story}") from error
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await world.close()
    assert monitor.looks > QUIET_SECONDS / 2
    return world
