"""Tracing VM exits by reason: what is written where, shared while several ask, removed with the last, whoever left it."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from houyi.host.trace import tracefs as tracefs_room
from houyi.host.trace.kvm import ENTRY, EXIT, MSR, OUTSIDE, TRIGGERS, KvmTracing
from houyi.host.trace.threads import threads_of
from houyi.host.trace.tracefs import Instance, find_tracefs
from houyi.model.errors import Failed, HouyiError
from houyi.model.exits import Spent, Virtualization
from houyi.model.ids import VmId

A, B = VmId("11111111-0000-4000-8000-000000000000"), VmId("22222222-0000-4000-8000-000000000000")
EVENTS = (EXIT, ENTRY, MSR)


@dataclass
class Kernel:
    """Files like those of tracefs, that a test fills; a thread of the test does what a kernel would."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "tracing" / "instances").mkdir(parents=True)
        for event in EVENTS:
            (self.root / "tracing" / "events" / event).mkdir(parents=True)
        (self.root / "tracing" / "synthetic_events").write_text("")
        (self.root / "sys" / "module" / "kvm_amd").mkdir(parents=True)
        (self.root / "proc").mkdir()

    def runs(self, vm_id: VmId, pid: int, threads: dict[int, str]) -> None:
        folder = self.root / "proc" / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cmdline").write_bytes(f"qemu\0-uuid\0{vm_id}\0-smp\0002\0".encode())
        for thread, name in threads.items():
            (folder / "task" / str(thread)).mkdir(parents=True, exist_ok=True)
            (folder / "task" / str(thread) / "comm").write_text(f"{name}\n")


def test_threads_are_found_by_the_uuid_and_their_names(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.runs(A, 10, {10: "qemu-system-x86", 11: "CPU 0/KVM", 12: "CPU 1/KVM", 13: "IO iothread1"})
    kernel.runs(B, 20, {20: "qemu-system-x86", 21: "CPU 0/TCG"})
    (tmp_path / "proc" / "self").mkdir()
    found = threads_of(A, tmp_path / "proc")
    assert found is not None
    assert (found.vcpus, found.kvm) == ({11, 12}, True)
    tcg = threads_of(B, tmp_path / "proc")
    assert tcg is not None
    assert not tcg.kvm
    assert threads_of(VmId("x"), tmp_path / "proc") is None


def test_triggers_are_written_without_truncation(tmp_path: Path) -> None:
    file = tmp_path / "trigger"
    before = "what somebody else has written before, and more\n"
    file.write_text(before)
    tracefs_room.write(file, "hist:keys=common_pid")
    written = "hist:keys=common_pid\n"
    assert file.read_text() == written + before[len(written) :], "a kernel takes it as a command; a truncation would end what others ask"
    with pytest.raises(Failed) as refused:
        tracefs_room.write(tmp_path / "missing", "x")
    assert refused.value.code == "tracing_refused"


def test_where_there_is_no_tracefs(tmp_path: Path) -> None:
    assert find_tracefs((tmp_path / "a", tmp_path / "b")) is None
    (tmp_path / "b" / "instances").mkdir(parents=True)
    assert find_tracefs((tmp_path / "a", tmp_path / "b")) == tmp_path / "b"


@dataclass
class Played(Instance):
    """An instance whose kernel is played: triggers are kept, tables count what the test says has happened."""

    tracefs: Path
    added: list[tuple[str, str]] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)
    exits: dict[tuple[int, int], int] = field(default_factory=dict)
    dropped: int = 0
    refuses: str = ""
    made: int = 0
    removed: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.tracefs)

    def make(self) -> None:
        self.made += 1

    def define_event(self, definition: str) -> None:
        self.defined.append(definition)

    def add_trigger(self, event: str, trigger: str) -> None:
        if self.refuses and self.refuses in event:
            raise Failed("tracing_refused", "no")
        self.added.append((event, trigger))

    def table(self, event: str) -> str:
        keys, names, value = {
            EXIT: ("common_pid,exit_reason", ("common_pid", "exit_reason"), ""),
            f"synthetic/{OUTSIDE}": ("thread,reason", ("thread", "reason"), " outside: {}"),
            MSR: ("common_pid,ecx,write", ("common_pid", "ecx", "write"), ""),
        }[event]
        if event == MSR:
            lines = [
                f"{{ common_pid: {thread}, ecx: {0x6E0}, write: 1 }} hitcount: {count}" for (thread, reason), count in self.exits.items() if reason == 0x7C
            ]
        else:
            lines = [
                f"{{ {names[0]}: {thread}, {names[1]}: {reason} }} hitcount: {count}{value.format(count * 1000)}"
                for (thread, reason), count in self.exits.items()
            ]
        head = f"# event histogram\n#\n# trigger info: hist:keys={keys}:vals=hitcount:sort=hitcount:size=4096 [active]\n#\n\n"
        return "\n".join((head, *lines, "", "Totals:", "    Hits: 0", f"    Dropped: {self.dropped}", ""))

    def remove(self, events: tuple[str, ...], synthetic: str) -> None:
        self.removed += 1
        self.added, self.defined = [], []


@dataclass
class Slow:
    """A clock on which the test lets a question end."""

    at: float = 50.0
    waits: "list[asyncio.Future[None]]" = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        return 1e9 + self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waits.append(future)
        self.more.set()
        await future

    async def until_asking(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.waits) < number:
                await self.more.wait()
                self.more.clear()


@dataclass
class Host:
    kernel: Kernel
    clock: Slow = field(default_factory=Slow)

    def __post_init__(self) -> None:
        root = self.kernel.root
        self.played = Played(root / "tracing")
        self.tracing = KvmTracing(self.clock, mounts=(root / "tracing",), proc=root / "proc", sys=root / "sys", instance=lambda _: self.played)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    kernel = Kernel(tmp_path)
    kernel.runs(A, 10, {11: "CPU 0/KVM", 12: "CPU 1/KVM"})
    kernel.runs(B, 20, {21: "CPU 0/KVM"})
    return Host(kernel)


async def test_everybody_gets_what_came_while_he_looked(host: Host) -> None:
    host.played.exits = {(11, 0x78): 100, (21, 0x78): 5}
    first = asyncio.create_task(host.tracing.profile(A, 10.0))
    await host.clock.until_asking(1)
    assert [trigger for _, trigger in host.played.added] == [trigger for _, trigger in TRIGGERS]
    host.played.exits |= {(11, 0x78): 150, (12, 0x7C): 4}
    second = asyncio.create_task(host.tracing.profile(B, 5.0))
    await host.clock.until_asking(2)
    assert host.played.made == 1, "they share the tables"
    host.played.exits |= {(11, 0x78): 160, (21, 0x78): 8}
    host.kernel.runs(A, 10, {13: "CPU 2/KVM"})
    host.played.exits[13, 0x78] = 1
    host.clock.at += 10
    removed = host.played.removed
    host.clock.waits[0].set_result(None)
    one = await first
    assert (one.vm_id, one.seconds, one.began_at, one.virtualization) == (A, 10.0, 1e9 + 50, Virtualization.SVM)
    assert one.reasons == {"hlt": Spent(61, 61_000), "msr": Spent(4, 4000)}, "with a vCPU that was plugged in meanwhile"
    assert one.msrs == {"write tsc_deadline": 4}
    assert host.played.removed == removed, "another is still looking"
    await host.tracing.clear()
    assert host.played.added, "nothing is taken from under him"
    host.clock.waits[1].set_result(None)
    assert (await second).reasons == {"hlt": Spent(3, 3000)}
    assert (host.played.removed, host.played.added) == (removed + 1, []), "the last one has removed them"


async def test_who_is_cancelled_leaves_nothing(host: Host) -> None:
    task = asyncio.create_task(host.tracing.profile(A, 10.0))
    await host.clock.until_asking(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert host.played.added == []


async def test_all_or_nothing(host: Host) -> None:
    host.played.refuses = MSR
    with pytest.raises(Failed):
        await host.tracing.profile(A, 1.0)
    assert (host.played.added, host.played.defined) == ([], [])
    host.played.refuses = ""
    task = asyncio.create_task(host.tracing.profile(A, 1.0))
    await host.clock.until_asking(1)
    host.clock.waits[0].set_result(None)
    await task


async def test_what_cannot_be_traced_is_said(host: Host, tmp_path: Path) -> None:
    async def refusal(vm_id: VmId = A, seconds: float = 1.0) -> str:
        with pytest.raises(HouyiError) as refused:
            await host.tracing.profile(vm_id, seconds)
        return refused.value.code

    assert await refusal(VmId("none")) == "not_running"
    host.kernel.runs(VmId("tcg"), 30, {31: "CPU 0/TCG"})
    assert await refusal(VmId("tcg")) == "no_vm_exits"
    assert await refusal(seconds=61.0) == "trace_too_long"
    assert await refusal(seconds=0.0) == "trace_too_long"
    (tmp_path / "sys" / "module" / "kvm_amd").rmdir()
    assert await refusal() == "tracing_refused"
    (tmp_path / "sys" / "module" / "kvm_intel").mkdir()
    (tmp_path / "tracing" / "events" / EXIT).rmdir()
    assert await refusal() == "tracing_refused"
    (tmp_path / "tracing" / "instances").rmdir()
    assert await refusal() == "tracefs_missing"
    await host.tracing.clear()


async def test_tracefs_is_mounted_where_nobody_has(host: Host, tmp_path: Path) -> None:
    where = tmp_path / "later"

    async def mount() -> None:
        (where / "instances").mkdir(parents=True)

    tracing = KvmTracing(host.clock, mounts=(where,), proc=tmp_path / "proc", sys=tmp_path / "sys", mount=mount, instance=lambda _: host.played)
    task = asyncio.create_task(tracing.profile(A, 1.0))
    await host.clock.until_asking(1)
    host.clock.waits[0].set_result(None)
    assert (await task).count == 0


def test_what_a_killed_agent_left_is_removed(tmp_path: Path) -> None:
    """The real removal, on files: each trigger is taken back in the kernel's own words, those that use others' variables first."""
    kernel = Kernel(tmp_path)
    instance = Instance(tmp_path / "tracing")
    trigger = instance.folder / "events" / ENTRY / "trigger"
    trigger.parent.mkdir(parents=True)
    trigger.write_text("hist:keys=common_pid:vals=hitcount [active]\n# hint\n")
    assert instance.triggers(ENTRY) == ("hist:keys=common_pid:vals=hitcount",)
    assert instance.triggers(EXIT) == ()
    (tmp_path / "tracing" / "events" / "synthetic" / OUTSIDE).mkdir(parents=True)
    with pytest.raises(Failed):
        instance.remove((ENTRY, EXIT), OUTSIDE)  # a plain folder does not go while there are files in it; a kernel's does
    assert trigger.read_text().startswith("!hist:keys=common_pid:vals=hitcount\n")
    assert (tmp_path / "tracing" / "synthetic_events").read_text() == f"!{OUTSIDE}\n"
    assert kernel.root == tmp_path
    Instance(tmp_path / "tracing", "never").remove((ENTRY,), "no_such")


def test_a_table_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed) as refused:
        Instance(tmp_path).table(EXIT)
    assert refused.value.code == "tracing_refused"
