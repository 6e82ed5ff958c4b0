"""The agent's loop on the simulated machine: it brings the host to what is desired, whatever fails in between."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from houyi.agent.counts import Counts
from houyi.agent.ledger import Ledger
from houyi.agent.loop import Loop
from houyi.agent.reports import Reports
from houyi.agent.steps import Steps
from houyi.base.clock import SystemClock
from houyi.host.port import MachineEvent
from houyi.host.sim import SimHost
from houyi.model.errors import Failed, Unavailable
from houyi.model.ids import ImageId, NetworkId, ProjectId, VmId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec
from houyi.model.vm import DesiredNic, DesiredVm, Power, Remedy, RestartPolicy, StopMode, Trouble, VmSpec, VmState
from houyi.planning.lifecycle import Memory
from houyi.wire.agents import Desired

pytestmark = pytest.mark.anyio

CONTENT = bytes(4096)
IMAGE = DesiredImage(
    id=ImageId("00000000-0000-4000-8000-0000000000aa"),
    format=DiskFormat.RAW,
    size_bytes=len(CONTENT),
    virtual_size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
NETWORK = DesiredNetwork(id=NetworkId("00000000-0000-4000-8000-0000000000bb"), name="default", spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24"))
VM = DesiredVm(
    id=VmId("00000000-0000-4000-8000-000000000001"),
    project_id=ProjectId("00000000-0000-4000-8000-0000000000ff"),
    name="one",
    epoch=1,
    generation=1,
    spec=VmSpec(image_id=IMAGE.id, vcpus=1, memory_mib=128, disk_gib=1),
    power=Power.RUNNING,
    nics=(DesiredNic(network_id=NETWORK.id, mac="52:54:00:00:00:01", address="10.80.0.2"),),
)


@dataclass
class Bench:
    """A simulated host with an agent on it that can be killed and started again."""

    folder: Path
    sim: SimHost
    reports: Reports = field(default_factory=Reports)
    revision: int = 0
    task: "asyncio.Task[None] | None" = None
    refuse_image: bool = False

    def start(self) -> None:
        ports, clock = self.sim.ports(), SystemClock()
        self.ledger, self.reports = Ledger(self.folder), Reports()
        self.counts = Counts()
        self.steps = Steps(ports, self.read, lambda: self.ledger.desired, clock, network_kept_seconds=0.0)
        self.loop = Loop(ports, self.ledger, self.reports, clock, "boot", self.steps, self.counts, 0.2)
        self.task = asyncio.create_task(self.loop.run())

    async def read(self, _image: ImageId, offset: int, length: int) -> bytes:
        if self.refuse_image:
            raise Unavailable("server_away", "the server is away")
        return CONTENT[offset : offset + length]

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def want(self, *vms: DesiredVm, networks: tuple[DesiredNetwork, ...] = (NETWORK,)) -> None:
        self.revision += 1
        self.loop.take(Desired(revision=self.revision, vms=vms, networks=networks, images=(IMAGE,)))

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                assert self.task is not None
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.005)

    async def until_state(self, state: VmState, generation: int = 1, vm_id: VmId = VM.id) -> None:
        def reached() -> bool:
            seen = self.reports.vms.get(vm_id)
            return seen is not None and seen.state is state and seen.generation >= generation

        await self.until(reached)

    def called(self, name: str) -> int:
        return sum(call == name for call, _ in self.sim.calls)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "ledger", SimHost(SystemClock(), boot_seconds=0.01, shutdown_seconds=0.01))
    made.start()
    yield made
    await made.kill()
    await made.sim.close()


async def test_from_a_wish_to_a_running_vm_and_to_nothing(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    assert set(bench.sim.nets) == {NETWORK.id}
    stopped = replace(VM, generation=2, power=Power.STOPPED, power_serial=2)
    bench.want(stopped)
    await bench.until_state(VmState.STOPPED, 2)
    bench.want(replace(stopped, generation=3, deleted=True))
    await bench.until(lambda: VM.id in bench.reports.take(everything=True)[1])
    assert (bench.sim.domains, bench.sim.disks, bench.sim.seeds) == ({}, {}, {})
    bench.want(networks=())
    await bench.until(lambda: not bench.sim.nets)
    assert bench.ledger.memories == {}


async def test_a_restart_of_the_agent_does_nothing_to_vms(bench: Bench) -> None:
    bench.want(replace(VM, reboot_serial=1))
    await bench.until_state(VmState.RUNNING)
    bench.want(replace(VM, generation=2, reboot_serial=2))
    await bench.until_state(VmState.RUNNING, 2)
    run, reboots = bench.sim.domains[VM.id].run, bench.called("reboot")
    await bench.kill()
    bench.start()
    await bench.until_state(VmState.RUNNING, 2)
    assert (bench.sim.domains[VM.id].run, bench.called("reboot")) == (run, reboots)


async def test_it_goes_on_without_a_server(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    await bench.kill()
    bench.sim.power_cut()
    bench.start()  # from the ledger alone
    await bench.until(lambda: bench.sim.domains[VM.id].state is VmState.RUNNING)


async def test_a_crash_is_restarted_as_the_policy_says(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    starts = bench.called("start")
    bench.sim.guest_panic(VM.id)
    await bench.until_state(VmState.CRASHED)
    await bench.until_state(VmState.RUNNING)
    assert bench.called("start") == starts + 1
    assert [happened.kind for happened in bench.reports.take(everything=False)[2]] == ["guest_panic", "restarted"]


async def test_failed_memory_resets_the_guest_once_where_that_is_asked(bench: Bench) -> None:
    asked = replace(VM, spec=replace(VM.spec, on_trouble={Trouble.MEMORY_FAILURE: Remedy.RESTART}), generation=VM.generation + 1)
    for want, resets in ((VM, 0), (asked, 1)):
        bench.want(want)
        await bench.until_state(VmState.RUNNING)
        bench.sim.emit(MachineEvent(vm_id=VM.id, kind="memory_failure"))
        await bench.until(lambda: "memory_failure" in [happened.kind for happened in bench.reports.take(everything=False)[2]])
        await bench.until(lambda: not bench.ledger.memories[VM.id].hurt)
        await bench.until(lambda resets=resets: bench.called("reset") == resets)


async def test_a_shutdown_from_inside_stays(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    bench.sim.guest_shutdown(VM.id)
    await bench.until_state(VmState.STOPPED)
    bench.loop.wake()
    await asyncio.sleep(0.3)
    assert bench.sim.domains[VM.id].state is VmState.STOPPED
    bench.want(replace(VM, generation=2, power_serial=2))
    await bench.until_state(VmState.RUNNING, 2)


async def test_what_fails_for_good_is_told_and_waits_for_a_new_wish(bench: Bench) -> None:
    bench.sim.fail_next("create_disk", Failed("disk_full", "free space"))
    bench.want(VM)
    await bench.until(lambda: VM.id in bench.reports.vms and bench.reports.vms[VM.id].error is not None)
    seen = bench.reports.vms[VM.id]
    assert (seen.state, seen.error_generation) == (VmState.FAILED, 1)
    bench.loop.wake()
    await asyncio.sleep(0.3)
    assert bench.called("create_disk") <= 1
    bench.want(replace(VM, generation=2))
    await bench.until_state(VmState.RUNNING, 2)
    assert bench.reports.vms[VM.id].error is None


async def test_a_deletion_that_fails_is_told_and_tried_again_slowly(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    bench.sim.fail_next("undefine", Failed("libvirt_failed", "it is held"))
    asked = bench.called("undefine")
    bench.want(replace(VM, generation=2, deleted=True))
    await bench.until(lambda: VM.id in bench.reports.vms and bench.reports.vms[VM.id].error is not None)
    assert bench.sim.domains, "a wish is never written as a fact"
    await bench.until(lambda: VM.id in bench.reports.take(everything=True)[1])
    assert bench.called("undefine") - asked <= 3
    assert not bench.sim.domains


async def test_libvirt_may_be_away(bench: Bench) -> None:
    bench.sim.lose_libvirt()
    bench.want(VM)
    await asyncio.sleep(0.1)
    assert not bench.sim.domains
    bench.sim.restore_libvirt()
    await bench.until_state(VmState.RUNNING)


async def test_an_image_that_cannot_be_had_yet_is_waited_for(bench: Bench) -> None:
    bench.refuse_image = True
    bench.want(VM)
    await asyncio.sleep(0.1)
    assert not bench.sim.disks
    bench.refuse_image = False
    await bench.until_state(VmState.RUNNING)


async def test_a_vm_missing_from_a_snapshot_is_left_alone_with_its_network_and_image(bench: Bench) -> None:
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    bench.revision = 100
    bench.loop.take(Desired(revision=100, vms=(), networks=(), images=()))
    await asyncio.sleep(0.5)
    assert bench.sim.domains[VM.id].state is VmState.RUNNING
    assert set(bench.sim.nets) == {NETWORK.id}
    assert set(bench.sim.cache) == {IMAGE.id}


async def test_an_older_epoch_is_refused(bench: Bench) -> None:
    bench.want(replace(VM, epoch=3))
    await bench.until_state(VmState.RUNNING)
    bench.want(replace(VM, epoch=2, generation=2, power=Power.STOPPED, power_serial=2, stop_mode=StopMode.FORCE))
    await bench.until(lambda: bench.reports.vms[VM.id].error is not None)
    error = bench.reports.vms[VM.id].error
    assert error is not None
    assert error.code == "epoch_old"
    assert bench.sim.domains[VM.id].state is VmState.RUNNING


async def test_many_at_once(bench: Bench) -> None:
    vms = tuple(replace(VM, id=VmId(f"00000000-0000-4000-8000-{n:012}"), name=f"vm-{n}") for n in range(1, 31))
    bench.want(*vms)
    for vm in vms:
        await bench.until_state(VmState.RUNNING, vm_id=vm.id)
    assert bench.called("fetch_image") == 1 or len(bench.sim.cache) == 1


async def test_the_ledger_survives_what_a_crash_may_leave(bench: Bench, tmp_path: Path) -> None:
    bench.want(replace(VM, spec=replace(VM.spec, restart_policy=RestartPolicy.NEVER)))
    await bench.until_state(VmState.RUNNING)
    await bench.kill()
    records = tmp_path / "ledger" / "vms"
    (records / f"{VM.id}.new").write_bytes(b'{"epo')
    other = VmId("00000000-0000-4000-8000-000000000009")
    (records / other).write_bytes(b"\0\0\0")
    found = Ledger(tmp_path / "ledger")
    assert found.memories[VM.id].epoch == 1
    assert other not in found.memories
    assert found.desired is not None
    assert {path.name for path in records.iterdir()} == {VM.id, other}
    assert os.stat(tmp_path / "ledger" / "vms").st_mode & 0o077 == 0
    bench.start()


async def test_a_vm_that_has_left_is_remembered_and_holds_up_no_tidying(bench: Bench) -> None:
    left = VmId("00000000-0000-4000-8000-000000000009")
    bench.ledger.keep(left, Memory(epoch=7, parted_at=SystemClock().now()))
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    bench.want(replace(VM, generation=2, deleted=True))
    await bench.until(lambda: not bench.sim.domains)
    bench.want(networks=())
    await bench.until(lambda: not bench.sim.nets)
    bench.want(replace(VM, id=left, epoch=6))
    await bench.until(lambda: left in bench.reports.vms)
    refused = bench.reports.vms[left].error
    assert refused is not None
    assert refused.code == "epoch_old"
    assert not bench.sim.disks
    bench.want(replace(VM, id=left, epoch=8))
    await bench.until_state(VmState.RUNNING, vm_id=left)
    assert bench.ledger.memories[left].parted_at == 0


async def test_a_transition_outside_the_law_is_counted_and_said_all_the_same(bench: Bench) -> None:
    """What the agent has said last is put so that what it sees now cannot follow: an observation is a fact."""
    bench.want(VM)
    await bench.until_state(VmState.RUNNING)
    before = bench.reports.vms[VM.id]
    assert not unlawful(bench)
    bench.reports.put(replace(before, state=VmState.REMOVING))
    bench.loop.wake()
    await bench.until_state(VmState.RUNNING)
    assert unlawful(bench) == {("removing", "running"): 1.0}


def unlawful(bench: Bench) -> dict[tuple[str, str], float]:
    (metric,) = bench.counts.unlawful.collect()
    return {(one.labels["before"], one.labels["after"]): one.value for one in metric.samples if one.name.endswith("_total")}
