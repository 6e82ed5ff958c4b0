"""Levers of host knobs over a tree of files as the kernel shows it: read, set, put back; and nothing but that."""

import os
import struct
from pathlib import Path

import pytest

from houyi.host.tuning.lever import MIXED
from houyi.host.tuning.levers import Roots, levers
from houyi.host.tuning.machine import MachineTuner
from houyi.model.errors import Failed, Invalid
from houyi.model.tuning import Scope
from houyi.planning.tuning.knobs import KNOBS

CPUS = 2
LATENCIES = (0, 2, 100)


class Tree:
    """A machine's /proc, /sys, /dev and /etc/modprobe.d."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots = Roots(proc=folder / "proc", sys=folder / "sys", dev=folder / "dev", modprobe=folder / "modprobe")
        kvm = "sys/module/kvm/parameters"
        self.put(f"{kvm}/pi_inject_timer", "0")
        self.put(f"{kvm}/halt_poll_ns", "200000")
        self.put(f"{kvm}/halt_poll_ns_grow", "2")
        self.put(f"{kvm}/halt_poll_ns_grow_start", "10000")
        self.put(f"{kvm}/halt_poll_ns_shrink", "0")
        self.put("sys/module/kvm_amd/parameters/avic", "N")
        self.put("sys/module/kvm_intel/parameters/enable_apicv", "Y")
        self.put("sys/kernel/mm/ksm/run", "0")
        self.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
        self.put("sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never")
        self.put("proc/sys/kernel/numa_balancing", "1")
        for cpu in range(CPUS):
            self.put(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "schedutil")
            for state, latency in enumerate(LATENCIES):
                self.put(f"sys/devices/system/cpu/cpu{cpu}/cpuidle/state{state}/latency", str(latency))
                self.put(f"sys/devices/system/cpu/cpu{cpu}/cpuidle/state{state}/disable", "0")
        self.put("dev/cpu_dma_latency", "")
        (folder / "modprobe").mkdir()

    def put(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(f"{text}\n" if text else "")

    def text(self, path: str) -> str:
        return (self.folder / path).read_text().strip()

    def all(self) -> dict[str, str]:
        return {str(path.relative_to(self.folder)): path.read_text().strip() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    @property
    def tuner(self) -> MachineTuner:
        return MachineTuner(levers(self.roots))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


NOW = {
    "pi_inject_timer": "off",
    "avic": "off",
    "apicv": "on",
    "halt_poll_ns": "200000",
    "halt_poll_ns_grow": "2",
    "halt_poll_ns_grow_start": "10000",
    "halt_poll_ns_shrink": "0",
    "ksm": "off",
    "thp": "madvise",
    "thp_defrag": "madvise",
    "numa_balancing": "on",
    "governor": "schedutil",
    "c_states": "all",
    "cpu_dma_latency": "auto",
}


def test_every_host_knob_has_its_lever(tree: Tree) -> None:
    assert set(levers(tree.roots)) == {knob.name for knob in KNOBS if knob.scope is Scope.HOST} == set(NOW)


async def test_a_machine_is_read(tree: Tree) -> None:
    assert await tree.tuner.read() == NOW


async def test_a_machine_without_any_of_it_has_no_knobs(tmp_path: Path) -> None:
    tuner = MachineTuner(levers(Roots(proc=tmp_path, sys=tmp_path, dev=tmp_path / "dev", modprobe=tmp_path)))
    assert await tuner.read() == {}
    with pytest.raises(Failed):
        await MachineTuner({}).set("ksm", "on")


@pytest.mark.parametrize("knob", [knob for knob in KNOBS if knob.scope is Scope.HOST], ids=lambda knob: knob.name)
async def test_every_value_is_set_and_put_back(tree: Tree, knob) -> None:  # type: ignore[no-untyped-def]
    tuner, was = tree.tuner, tree.all()
    numbers = [] if knob.numbers is None else [str(knob.numbers.least), str(knob.numbers.most)]
    before = await tuner.before(knob.name)
    for value in [*(choice.value for choice in knob.choices), *numbers]:
        await tuner.set(knob.name, value)
        await tuner.set(knob.name, value)
        if knob.name not in ("avic", "apicv"):  # until the module is loaded again
            assert (await tuner.read())[knob.name] == value
    await tuner.restore(knob.name, before)
    left = tree.all()
    if knob.name == "cpu_dma_latency":
        left["dev/cpu_dma_latency"] = ""  # a device keeps nothing
        assert (await tuner.read())["cpu_dma_latency"] == "auto"
    thp = {"sys/kernel/mm/transparent_hugepage/enabled", "sys/kernel/mm/transparent_hugepage/defrag"}
    assert {path: text for path, text in left.items() if path not in thp} == {path: text for path, text in was.items() if path not in thp}
    assert all("madvise" in left[path] for path in thp)


async def test_what_is_so_already_is_not_written(tree: Tree) -> None:
    run = tree.folder / "sys/kernel/mm/ksm/run"
    os.utime(run, (1, 1))
    await tree.tuner.set("ksm", "off")
    assert run.stat().st_mtime == 1


async def test_shallow_leaves_deep_states_out(tree: Tree) -> None:
    await tree.tuner.set("c_states", "shallow")
    cpu = "sys/devices/system/cpu/cpu1/cpuidle"
    assert [tree.text(f"{cpu}/state{state}/disable") for state in range(3)] == ["0", "0", "1"]


async def test_files_that_differ_are_put_back_each_as_it_was(tree: Tree) -> None:
    tree.put("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave")
    tuner = tree.tuner
    assert (await tuner.read())["governor"] == MIXED
    before = await tuner.before("governor")
    await tuner.set("governor", "performance")
    await tuner.restore("governor", before)
    assert tree.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") == "schedutil"
    assert tree.text("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor") == "powersave"


async def test_a_modules_parameter_is_left_to_modprobe(tree: Tree) -> None:
    tuner = tree.tuner
    before = await tuner.before("avic")
    await tuner.set("avic", "on")
    assert tree.text("modprobe/houyi-kvm_amd-avic.conf") == "options kvm_amd avic=1"
    assert tree.text("sys/module/kvm_amd/parameters/avic") == "N"
    await tuner.restore("avic", before)
    assert list((tree.folder / "modprobe").iterdir()) == []


async def test_a_file_that_somebody_else_wrote_comes_back(tree: Tree) -> None:
    tree.put("modprobe/houyi-kvm_amd-avic.conf", "# by hand")
    tuner = tree.tuner
    before = await tuner.before("avic")
    await tuner.set("avic", "on")
    await tuner.restore("avic", before)
    assert tree.text("modprobe/houyi-kvm_amd-avic.conf") == "# by hand"


async def test_the_device_is_held_with_the_number_that_was_asked_last(tree: Tree) -> None:
    tuner = tree.tuner
    held = len(os.listdir("/proc/self/fd"))
    await tuner.set("cpu_dma_latency", "10")
    assert (tree.folder / "dev/cpu_dma_latency").read_bytes() == struct.pack("=i", 10)
    await tuner.set("cpu_dma_latency", "25")
    assert len(os.listdir("/proc/self/fd")) == held + 1
    await tuner.restore("cpu_dma_latency", {})
    assert len(os.listdir("/proc/self/fd")) == held


@pytest.mark.parametrize(("knob", "value"), [("ksm", "3"), ("thp", "../../x"), ("halt_poll_ns", "1 2"), ("governor", "userspace"), ("cpu_dma_latency", "-1")])
async def test_only_values_of_the_knob_are_written(tree: Tree, knob: str, value: str) -> None:
    was = tree.all()
    with pytest.raises(Invalid):
        await tree.tuner.set(knob, value)
    assert tree.all() == was


@pytest.mark.parametrize("knob", ["../../etc/passwd", "pv_ipi", ""])
async def test_only_names_of_host_knobs_are_taken(tree: Tree, knob: str) -> None:
    for act in (tree.tuner.before(knob), tree.tuner.set(knob, "on")):
        with pytest.raises(Failed) as refused:
            await act
        assert refused.value.code == "knob_missing"
    await tree.tuner.restore(knob, {"/etc/passwd": "x"})


async def test_what_was_written_down_names_no_other_files(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.write_text("mine")
    await tree.tuner.restore("ksm", {str(other): "theirs"})
    assert other.read_text() == "mine"


async def test_a_refusal_of_the_kernel_is_said(tree: Tree) -> None:
    run = tree.folder / "sys/kernel/mm/ksm/run"
    run.unlink()
    run.mkdir()
    with pytest.raises(Failed) as refused:
        await tree.tuner.set("ksm", "on")
    assert refused.value.code == "tuning_failed"
    assert "ksm" not in await tree.tuner.read()


async def test_this_very_machine_is_read_without_harm() -> None:
    found = await MachineTuner(levers()).read()
    for name, value in found.items():
        assert name in NOW
        assert value
