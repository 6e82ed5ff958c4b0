"""What is read of machines for their reports: on the files of several, on broken ones, and on this one as it is."""

import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from houyi.host.probe.reading import BYTES_MAX, Reading
from houyi.host.probe.traits import look, read_traits
from houyi.model.host import Accelerator, AcceleratorProbe
from houyi.model.host_report import Has, HostTraits, HugePool
from machines import NAMES, plant, put

PROBE = AcceleratorProbe(accelerator=Accelerator.KVM, verdict="native", reason="for a test")
DEVICES = 'name "vhost-user-blk-pci", bus PCI\n'


def traits(root: Path) -> HostTraits:
    return read_traits(root, PROBE, DEVICES)


@pytest.fixture
def intel(tmp_path: Path) -> Path:
    return plant(tmp_path, "intel")


@pytest.fixture
def amd(tmp_path: Path) -> Path:
    return plant(tmp_path, "amd")


def test_intel(intel: Path) -> None:
    found = traits(intel)
    virt = found.virt
    assert (virt.vendor, virt.inside_vm, virt.module) == ("intel", False, "kvm_intel")
    assert (virt.hardware, virt.nested_paging, virt.vpid, virt.unrestricted_guest, virt.preemption_timer, virt.nested) == (Has.ON,) * 6
    assert virt.apic is Has.OFF, "the CPU has it, the module's parameter says N"
    assert virt.posted_interrupts is Has.OFF, "bit 59 of the IOMMU's capabilities is set"
    assert (virt.nx_huge_pages, virt.pi_inject_timer) == (True, False)
    assert dict(virt.halt_poll) == {"halt_poll_ns": 200000, "halt_poll_ns_grow": 2, "halt_poll_ns_grow_start": 10000, "halt_poll_ns_shrink": 0}
    memory = found.memory
    assert HugePool(node=0, page_kib=1 << 20, total=128, free=100) in memory.huge_pools
    assert HugePool(node=1, page_kib=1 << 20, total=0, free=0) in memory.huge_pools
    assert (memory.total_mib, memory.thp, memory.thp_defrag, memory.thp_shmem) == (515564, "never", "always", "never")
    assert [(node.number, node.cpus, node.memory_mib, node.distances) for node in memory.nodes] == [
        (0, "0-31,64-95", 257782, (10, 20)),
        (1, "32-63,96-127", 257782, (20, 10)),
    ]
    assert (memory.ksm_run, memory.ksm_sharing_mib, memory.ksm_across_nodes) == (1, 2048, True)
    assert (memory.swap_mib, memory.swap_used_mib, memory.swappiness, memory.numa_balancing) == (8191, 128, 60, True)
    power = found.power
    assert (power.cpus, power.threads_per_core, power.freq_driver, power.governors) == (128, 2, "intel_pstate", ("powersave",))
    assert (power.preference, power.boost, power.tsc_steady, power.clock_source) == ("balance_power", Has.ON, True, "tsc")
    assert [(state.name, state.latency_us, state.disabled) for state in power.idle_states][-1] == ("C6", 170, False)
    devices = found.devices
    assert (devices.iommus, devices.iommu_groups, devices.interrupt_remapping) == (("dmar0", "dmar1"), 3, True)
    assert (devices.vhost_net, devices.vhost_user) == (Has.ON, Has.ON)
    assert [(one.address, one.interfaces, one.vfs_total, one.vfs) for one in devices.functions] == [
        ("0000:31:00.0", ("ens1f0",), 64, 0),
        ("0000:31:00.1", ("ens1f1",), 64, 0),
    ]
    assert found.unknown == {}


def test_amd(amd: Path) -> None:
    found = traits(amd)
    virt = found.virt
    assert (virt.vendor, virt.module, virt.hardware, virt.nested_paging, virt.vpid, virt.nested) == ("amd", "kvm_amd", Has.ON, Has.ON, Has.ON, Has.ON)
    assert (virt.apic, virt.preemption_timer) == (Has.OFF, Has.ABSENT)
    put(amd, "sys/module/kvm_amd/parameters/avic", "Y\n")
    again = traits(amd).virt
    assert again.apic is Has.ON
    assert again.posted_interrupts is Has.ON
    put(amd, "sys/class/iommu/ivhd0/amd-iommu/features", "58f77ef00094a5a:0\n")
    assert traits(amd).virt.posted_interrupts is Has.ABSENT, "this IOMMU has no mode for guests"
    assert (found.power.freq_driver, found.power.governors, found.power.boost) == ("acpi-cpufreq", ("performance",), Has.ON)
    assert found.devices.vhost_net is Has.OFF, "the module is there and not loaded"
    assert found.kernel.isolated == "2-3"


def test_what_is_inside_a_vm(tmp_path: Path) -> None:
    nested = traits(plant(tmp_path / "nested", "nested"))
    assert (nested.virt.inside_vm, nested.virt.hardware, nested.virt.nested_paging, nested.virt.apic) == (True, Has.ON, Has.ON, Has.ABSENT)
    assert (nested.devices.iommu_groups, nested.devices.interrupt_remapping, nested.devices.vhost_net) == (2, True, Has.ON)
    cloud = traits(plant(tmp_path / "cloud", "cloud"))
    assert (cloud.virt.inside_vm, cloud.virt.hardware, cloud.virt.module) == (True, Has.ABSENT, "kvm_pvm")
    assert (cloud.devices.iommu_groups, cloud.devices.interrupt_remapping, cloud.power.freq_driver) == (0, False, "")


def test_a_module_that_is_not_loaded_uses_nothing(intel: Path) -> None:
    shutil.rmtree(intel / "sys/module")
    virt = traits(intel).virt
    assert (virt.module, virt.hardware, virt.nested_paging, virt.vpid, virt.apic) == ("", Has.OFF, Has.OFF, Has.OFF, Has.OFF)


def test_an_old_kernel_says_it_by_the_cpus_registers(intel: Path) -> None:
    info = (intel / "proc/cpuinfo").read_text()
    put(intel, "proc/cpuinfo", "\n".join(line for line in info.splitlines() if not line.startswith("vmx flags")))
    blind = traits(intel)
    assert (blind.virt.unrestricted_guest, blind.virt.preemption_timer) == (Has.ON, Has.ON), "the module uses them, so they are there"
    assert blind.virt.apic is None, "the module does not use it: whether the CPU has it is not known"
    assert "msr" in blind.unknown["virt.apic"]
    registers = bytearray(0x500)
    struct.pack_into("<Q", registers, 0x481, (1 << 6 | 1 << 7) << 32)
    struct.pack_into("<Q", registers, 0x48B, (1 << 1 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9) << 32)
    (intel / "dev/cpu/0").mkdir(parents=True)
    (intel / "dev/cpu/0/msr").write_bytes(registers)
    told = traits(intel)
    assert (told.virt.apic, told.virt.unrestricted_guest, told.virt.preemption_timer) == (Has.OFF, Has.ON, Has.ON)
    assert told.unknown == {}


def test_only_what_matters_of_the_command_line_leaves_the_machine(intel: Path, tmp_path: Path) -> None:
    assert traits(intel).kernel.command_line == (
        "audit=1",
        "processor.max_cstate=1",
        "intel_iommu=on",
        "default_hugepagesz=1G",
        "hugepagesz=1G",
        "hugepages=128",
    )
    cloud = traits(plant(tmp_path / "cloud", "cloud")).kernel.command_line
    assert cloud is not None
    assert "mitigations=auto,no_guest_host,no_guest_guest" in cloud
    assert "idle=poll" not in cloud, "what is after -- is for init"


def test_nothing_there_is_nothing_known(tmp_path: Path) -> None:
    found = read_traits(tmp_path, PROBE, None)
    assert found.virt.hardware is None
    assert (found.memory.total_mib, found.memory.thp, found.power.cpus, found.kernel.command_line, found.devices.vhost_user) == (None,) * 5
    assert {"virt", "memory.thp", "power.cpus", "kernel.command_line", "devices.vhost_user", "devices.iommu_groups"} <= set(found.unknown)
    assert all(reason for reason in found.unknown.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("junk", ["", "\x00\xff\xfe", "-", "Y" * 1000, "9" * 40, "[", "a: b: c\n" * 50])
def test_files_that_say_nonsense_break_nothing(tmp_path: Path, name: str, junk: str) -> None:
    root = plant(tmp_path, name)
    for folder, _folders, files in os.walk(root):
        for file in files:
            put(root, str((Path(folder) / file).relative_to(root)), junk)
    assert isinstance(traits(root), HostTraits)


def test_a_file_that_never_answers_is_not_waited_for_and_a_long_one_is_cut(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_bytes(b"x" * (BYTES_MAX * 2))
    (tmp_path / "folder").mkdir()
    reading = Reading(tmp_path)
    begin = time.monotonic()
    assert reading.text("fifo", "a") is None
    assert time.monotonic() - begin < 1
    assert len(reading.text("long", "b") or "") == BYTES_MAX
    assert reading.text("folder", "c") is None
    assert set(reading.unknown) == {"a", "c"}


async def test_this_machine() -> None:
    found = await look(PROBE)
    assert found.power.cpus
    assert found.memory.total_mib
    assert found.kernel.release == os.uname().release
