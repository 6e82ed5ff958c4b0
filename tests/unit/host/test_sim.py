"""The simulated machine's own controls: faults and what guests do by themselves. What it shares with the real one is in tests/contract."""

import asyncio
import hashlib
from dataclasses import dataclass, field

import pytest

from houyi.host.sim import SimHost
from houyi.model.errors import Failed, Unavailable
from houyi.model.ids import ImageId, ProjectId, VmId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.vm import DesiredVm, GuestAgent, Power, StateReason, VmSpec, VmState

CONTENT = bytes(4096)
IMAGE = DesiredImage(
    id=ImageId("00000000-0000-4000-8000-0000000000aa"),
    format=DiskFormat.RAW,
    size_bytes=len(CONTENT),
    virtual_size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
VM = DesiredVm(
    id=VmId("00000000-0000-4000-8000-000000000001"),
    project_id=ProjectId("00000000-0000-4000-8000-0000000000ff"),
    name="one",
    epoch=1,
    generation=1,
    spec=VmSpec(image_id=IMAGE.id, vcpus=1, memory_mib=128, disk_gib=1),
    power=Power.RUNNING,
)


@dataclass
class HandClock:
    """Time that moves only when told."""

    time: float = 1000.0
    waiting: list[tuple[float, "asyncio.Future[None]"]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((self.time + seconds, future))
        await future

    async def forward(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.time += seconds
        for at, future in self.waiting:
            if at <= self.time and not future.done():
                future.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def booted() -> tuple[HandClock, SimHost]:
    clock = HandClock()
    sim = SimHost(clock, boot_seconds=3, shutdown_seconds=2)
    ports = sim.ports()

    async def read(offset: int, length: int) -> bytes:
        return CONTENT[offset : offset + length]

    await ports.disks.fetch_image(IMAGE, read, lambda _: None)
    await ports.disks.create_disk(VM, IMAGE)
    await ports.disks.write_seed(VM, ())
    await ports.machine.start(VM)
    return clock, sim


async def state(sim: SimHost) -> tuple[VmState, StateReason]:
    seen = (await sim.ports().machine.observe())[VM.id]
    return seen.state, seen.reason


async def test_guest_agent_answers_after_the_boot_time() -> None:
    clock, sim = await booted()
    assert (await sim.ports().machine.observe())[VM.id].guest_agent is GuestAgent.DISCONNECTED
    await clock.forward(3)
    assert (await sim.ports().machine.observe())[VM.id].guest_agent is GuestAgent.CONNECTED
    assert await sim.ports().guests.ping(VM.id)
    await sim.close()


async def test_shutdown_takes_its_time_and_a_deaf_guest_stays() -> None:
    clock, sim = await booted()
    sim.deaf.add(VM.id)
    await sim.ports().machine.shutdown(VM.id)
    await clock.forward(10)
    assert (await state(sim))[0] is VmState.RUNNING
    sim.deaf.clear()
    await sim.ports().machine.shutdown(VM.id)
    await clock.forward(1)
    assert (await state(sim))[0] is VmState.RUNNING
    await clock.forward(1)
    assert await state(sim) == (VmState.STOPPED, StateReason.REQUESTED)
    await sim.close()


async def test_what_guests_do_by_themselves_is_seen_and_told() -> None:
    _, sim = await booted()
    events = sim.ports().machine.events()
    assert (await anext(events)).vm_id == VM.id
    for act, expected, kind in (
        (sim.guest_panic, (VmState.CRASHED, StateReason.GUEST_PANIC), "guest_panic"),
        (sim.kill_qemu, (VmState.CRASHED, StateReason.QEMU_DIED), "qemu_died"),
        (sim.io_error, (VmState.PAUSED, StateReason.IO_ERROR), "io_error"),
        (sim.guest_reboot, (VmState.RUNNING, StateReason.REQUESTED), "guest_reboot"),
    ):
        await sim.ports().machine.destroy(VM.id)
        await sim.ports().machine.start(VM)
        while not sim._events.empty():
            await anext(events)
        act(VM.id)
        assert await state(sim) == expected
        assert (await anext(events)).kind == kind
    await sim.close()


async def test_ordered_faults_and_a_lost_libvirt() -> None:
    _, sim = await booted()
    machine = sim.ports().machine
    sim.fail_next("suspend", Failed("libvirt_failed", "ordered"))
    with pytest.raises(Failed, match="ordered"):
        await machine.suspend(VM.id)
    await machine.suspend(VM.id)
    sim.lose_libvirt()
    with pytest.raises(Unavailable):
        await machine.observe()
    assert await sim.ports().consoles.log(VM.id)
    sim.restore_libvirt()
    assert (await state(sim))[0] is VmState.PAUSED
    sim.power_cut()
    assert (await state(sim)) == (VmState.STOPPED, StateReason.NONE)
    await sim.close()


async def test_full_disk_leaves_nothing() -> None:
    sim = SimHost(HandClock())
    sim.disk_full = True

    async def read(offset: int, length: int) -> bytes:
        return CONTENT[offset : offset + length]

    with pytest.raises(Failed) as caught:
        await sim.ports().disks.fetch_image(IMAGE, read, lambda _: None)
    assert caught.value.code == "disk_full"
    assert not sim.parts
    assert not sim.cache
