"""What is read from /proc and /sys, on trees of other machines; and the whole probe with a hypervisor that is away."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from houyi.host.probe.machine import MachineFiles, disk_gib, read_cpus
from houyi.host.probe.probe import RealProbe
from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.errors import Unavailable
from houyi.model.host import Accelerator, AcceleratorProbe, NumaNode

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) CPU E5-2682 v4 @ 2.50GHz
flags\t\t: fpu vme vmx ept aes
vmx flags\t: vnmi preemption_timer

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
MEMINFO = "MemTotal:       65777204 kB\nMemFree:         1017204 kB\nMemAvailable:   41943040 kB\nHugePages_Total:     512\n"


@pytest.fixture
def files(tmp_path: Path) -> MachineFiles:
    texts = {
        "proc/sys/kernel/random/boot_id": "0b2f-boot\n",
        "proc/cpuinfo": CPUINFO,
        "proc/meminfo": MEMINFO,
        "proc/loadavg": "1.75 0.80 0.40 3/412 9000\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
        "sys/devices/system/node/node0/cpulist": "0-1\n",
        "sys/devices/system/node/node1/cpulist": "2-3\n",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       32889000 kB\nNode 0 MemFree: 1 kB\n",
        "sys/devices/system/node/node1/meminfo": "Node 1 MemTotal:       32888204 kB\n",
        "sys/devices/system/node/online": "0-1\n",
        "proc/pressure/cpu": "some avg10=25.00 avg60=8.73 avg300=6.98 total=14222739519\n",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return MachineFiles(tmp_path / "proc", tmp_path / "sys", lambda: {0, 1, 3})


def test_an_intel_machine(files: MachineFiles) -> None:
    assert files.boot_id() == "0b2f-boot"
    assert files.cpu() == ("Intel(R) Xeon(R) CPU E5-2682 v4 @ 2.50GHz", ("aes", "ept", "fpu", "vme", "vmx"))
    assert files.memory_mib() == 64235
    assert files.memory_free_mib() == 40960
    assert files.load1() == 1.75
    assert files.numa_nodes() == 2
    assert files.numa() == (NumaNode(number=0, cpus=(0, 1), memory_mib=32118), NumaNode(number=1, cpus=(3,), memory_mib=32117)), "CPU 2 is not ours to use"
    assert files.cpus() == 3
    assert files.hugepages() == {"1048576": 0, "2048": 512}


def test_a_kernel_without_numa_and_huge_pages(tmp_path: Path) -> None:
    assert MachineFiles(tmp_path, tmp_path).numa_nodes() == 1
    assert MachineFiles(tmp_path, tmp_path).numa() == ()
    assert MachineFiles(tmp_path, tmp_path).hugepages() == {}


def test_the_kernels_lists_of_cpus() -> None:
    assert read_cpus("0-2,8,10-11\n") == (0, 1, 2, 8, 10, 11)
    assert read_cpus("\n") == (), "a node of memory only"


def test_a_disk_is_measured(tmp_path: Path) -> None:
    size, free = disk_gib(tmp_path)
    assert 0 <= free <= size


WESTMERE = GuestCpu(model="Westmere")


@dataclass(frozen=True)
class Said:
    libvirt_version: str = "11.3.0"
    qemu_version: str = "10.0.2"
    machine_types: Sequence[str] = ("pc-q35-10.0", "q35")
    firmwares: Sequence[str] = ("bios", "uefi")
    cpu_features: Sequence[str] = ("aes",)
    guest_cpu: GuestCpu | None = WESTMERE
    cpu_models: Sequence[str] = ("Westmere",)


class Hypervisor:
    """libvirt as far as the probe asks it; `away` makes every call fail."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.connected = True
        self.asked: list[Accelerator] = []

    async def capabilities(self, accelerator: Accelerator) -> Said:
        self.asked.append(accelerator)
        if self.away:
            raise Unavailable("libvirt_away", "it does not answer: start it")
        return Said()

    async def running(self) -> int:
        if self.away:
            raise Unavailable("libvirt_away", "it does not answer: start it")
        return 3

    async def baseline(self, accelerator: Accelerator, of: Sequence[GuestCpu]) -> CpuBaseline:
        self.asked.append(accelerator)
        return CpuBaseline(cpu=of[0], features=())


ACCELERATOR = AcceleratorProbe(accelerator=Accelerator.QEMU, verdict="emulated", reason="it interprets instructions one by one")


async def test_facts_are_whole(files: MachineFiles, tmp_path: Path) -> None:
    hypervisor = Hypervisor()
    facts = await RealProbe(ACCELERATOR, tmp_path, hypervisor, files).facts()
    assert hypervisor.asked == [Accelerator.QEMU]
    assert (facts.boot_id, facts.memory_mib, facts.numa_nodes, facts.cpu_model) == ("0b2f-boot", 64235, 2, "Intel(R) Xeon(R) CPU E5-2682 v4 @ 2.50GHz")
    assert (facts.qemu_version, facts.libvirt_version, facts.firmwares) == ("10.0.2", "11.3.0", ("bios", "uefi"))
    assert facts.accelerator == ACCELERATOR
    assert facts.guest_cpu == WESTMERE
    assert facts.hostname
    assert facts.agent_version


@pytest.mark.parametrize(("offered", "facts_mib", "free_mib"), [(0, 64235, 40960), (2048, 2048, 2048), (50_000, 50_000, 40960), (100_000, 64235, 40960)])
async def test_a_host_offers_no_more_than_it_is_told_to_nor_than_it_has(
    files: MachineFiles, tmp_path: Path, offered: int, facts_mib: int, free_mib: int
) -> None:
    probe = RealProbe(ACCELERATOR, tmp_path, Hypervisor(), files, memory_mib=offered)
    assert ((await probe.facts()).memory_mib, (await probe.load()).memory_free_mib) == (facts_mib, free_mib)


async def test_load_never_fails(files: MachineFiles, tmp_path: Path) -> None:
    hypervisor = Hypervisor()
    probe = RealProbe(ACCELERATOR, tmp_path, hypervisor, files)
    load = await probe.load()
    assert (load.vms_running, load.libvirt_connected, load.memory_free_mib, load.load1) == (3, True, 40960, 1.75)
    assert load.stalled == {"cpu_some": 0.25}
    hypervisor.away = True
    assert ((await probe.load()).vms_running, (await probe.load()).libvirt_connected) == (0, False)
    with pytest.raises(Unavailable):
        await probe.facts()
