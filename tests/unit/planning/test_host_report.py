"""Each rule of the host report, by what it says of a machine with one thing so or otherwise; and that the order is by use."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from houyi.model.host import Accelerator, AcceleratorProbe
from houyi.model.host_report import (
    DeviceTraits,
    Has,
    HostTraits,
    HugePool,
    IdleState,
    Item,
    KernelTraits,
    MemoryTraits,
    NodeTraits,
    PhysicalFunction,
    PowerTraits,
    VirtTraits,
)
from houyi.planning.host_report import RULES, advice, items
from houyi.planning.host_rules import kernel

NATIVE = AcceleratorProbe(
    accelerator=Accelerator.KVM,
    verdict="native",
    reason="it ran",
    exit_ns={"cpuid": 900, "out": 2500, "mmio": 4100, "page_fault": 700},
    loop_ns=0.4,
    capabilities={"irqfd": 1, "tsc_control": 0, "vcpus_max": 1024, "disable_exits": 15},
)
NODE = NodeTraits(number=0, cpus="0-31", memory_mib=262144, distances=(10,))
FAR = NodeTraits(number=1, cpus="32-63", memory_mib=262144, distances=(20, 10))
WELL = HostTraits(
    accelerator=NATIVE,
    virt=VirtTraits(
        vendor="intel",
        module="kvm_intel",
        hardware=Has.ON,
        nested_paging=Has.ON,
        vpid=Has.ON,
        apic=Has.ON,
        posted_interrupts=Has.ON,
        unrestricted_guest=Has.ON,
        preemption_timer=Has.ON,
        nested=Has.OFF,
        halt_poll={"halt_poll_ns": 200000},
        nx_huge_pages=False,
        pi_inject_timer=False,
    ),
    memory=MemoryTraits(
        total_mib=262144,
        huge_pools=(HugePool(node=0, page_kib=2048, total=4096, free=4096),),
        thp="madvise",
        thp_defrag="madvise",
        thp_shmem="advise",
        nodes=(NODE,),
        numa_balancing=False,
        ksm_run=0,
        ksm_sharing_mib=0,
        ksm_across_nodes=True,
        swap_mib=0,
        swap_used_mib=0,
        swappiness=60,
    ),
    power=PowerTraits(
        cpus=32,
        threads_per_core=1,
        freq_driver="intel_pstate",
        governors=("performance",),
        boost=Has.ON,
        idle_driver="intel_idle",
        idle_states=(IdleState(name="C1", latency_us=2, disabled=False),),
        clock_source="tsc",
        clock_sources=("tsc", "hpet"),
        tsc_steady=True,
    ),
    devices=DeviceTraits(
        iommus=("dmar0",),
        iommu_groups=40,
        interrupt_remapping=True,
        vhost_net=Has.ON,
        vhost_user=Has.ON,
        functions=(PhysicalFunction(address="0000:31:00.0", driver="ice", interfaces=("eth0",), vfs_total=64, vfs=8),),
    ),
    kernel=KernelTraits(release="6.12", command_line=("iommu=pt",), vulnerabilities={"meltdown": "Not affected"}, isolated="", smt="on"),
)
"""A machine of which there is nothing to say."""


def with_(part: str, **changes: Any) -> HostTraits:
    """WELL with one thing otherwise."""
    if part == "accelerator":
        return replace(WELL, accelerator=replace(NATIVE, **changes))
    return replace(WELL, **{part: replace(getattr(WELL, part), **changes)})


def named(found: Iterable[Item], name: str) -> Item:
    return next(item for item in found if item.name == name)


def test_where_all_is_well_there_is_nothing_to_do() -> None:
    assert advice(WELL) == ()
    assert all(item.meaning and item.value and item.weight == 0 for item in items(WELL))


CASES = [
    ("accelerator", {"accelerator": Accelerator.QEMU, "verdict": "absent", "exit_ns": {}}, "accelerator", "firmware", 100),
    ("accelerator", {"accelerator": Accelerator.QEMU, "verdict": "hang", "exit_ns": {}}, "accelerator", "update the kernel", 100),
    ("accelerator", {"accelerator": Accelerator.QEMU, "verdict": "emulated", "exit_ns": {}}, "accelerator", "passes it through", 100),
    ("accelerator", {"accelerator": Accelerator.QEMU, "verdict": "forced", "exit_ns": {}}, "accelerator", "agent.accelerator", 100),
    ("accelerator", {"verdict": "slow"}, "accelerator", "tests only", 60),
    ("accelerator", {"exit_ns": {"cpuid": 30000}}, "VM exit in the kernel", "mitigations", 50),
    ("virt", {"hardware": Has.OFF, "module": ""}, "VT-x", "modprobe kvm_intel", 95),
    ("virt", {"hardware": Has.OFF, "vendor": "amd"}, "SVM", "modprobe kvm_amd", 95),
    ("virt", {"hardware": Has.ABSENT}, "VT-x", "firmware", 95),
    ("virt", {"hardware": Has.ABSENT, "inside_vm": True}, "VT-x", "hypervisor below", 95),
    ("virt", {"nested_paging": Has.OFF}, "EPT", "ept=1", 90),
    ("virt", {"nested_paging": Has.OFF, "vendor": "amd"}, "NPT", "npt=1", 90),
    ("virt", {"vpid": Has.OFF}, "VPID", "vpid=1", 70),
    ("virt", {"apic": Has.OFF}, "APICv", "enable_apicv=1", 60),
    ("virt", {"apic": Has.OFF, "vendor": "amd"}, "AVIC", "avic=1", 60),
    ("virt", {"posted_interrupts": Has.OFF}, "posted interrupts", "APICv", 30),
    ("virt", {"unrestricted_guest": Has.OFF}, "unrestricted guest", "unrestricted_guest=1", 30),
    ("virt", {"preemption_timer": Has.OFF}, "preemption timer", "preemption_timer=1", 25),
    ("virt", {"halt_poll": {"halt_poll_ns": 0}}, "halt polling", "halt_poll_ns", 20),
    ("memory", {"huge_pools": (HugePool(node=0, page_kib=2048, total=0, free=0),)}, "huge pages", "hugepagesz=1G", 45),
    ("memory", {"huge_pools": (HugePool(node=0, page_kib=2048, total=0, free=0),), "total_mib": 8192}, "huge pages", "hugepagesz=1G", 10),
    ("memory", {"nodes": (NODE, FAR)}, "huge pages", "node 1", 35),
    ("memory", {"thp": "never"}, "transparent huge pages", "madvise", 30),
    ("memory", {"thp": "never", "huge_pools": ()}, "transparent huge pages", "madvise", 65),
    ("memory", {"thp_defrag": "always"}, "making huge pages", "defer+madvise", 20),
    ("memory", {"thp_shmem": "never"}, "transparent huge pages of shared memory", "advise", 12),
    ("memory", {"nodes": (NODE, replace(FAR, memory_mib=0))}, "NUMA", "slots of node 1", 50),
    ("memory", {"nodes": (NODE, FAR), "numa_balancing": True}, "automatic NUMA balancing", "numa_balancing=0", 25),
    ("memory", {"ksm_run": 1}, "page merging (KSM)", "echo 2", 40),
    ("memory", {"ksm_run": 1, "nodes": (NODE, FAR)}, "page merging over nodes", "merge_across_nodes", 38),
    ("memory", {"swap_mib": 8192, "swap_used_mib": 100}, "swap", "move VMs away", 55),
    ("memory", {"swap_mib": 8192}, "swap", "swappiness=1", 30),
    ("power", {"governors": ("powersave",), "preference": "balance_power"}, "CPU frequency", "performance", 45),
    ("power", {"governors": ("powersave",), "preference": "balance_performance"}, "CPU frequency", "performance", 30),
    ("power", {"governors": ("powersave",), "freq_driver": "acpi-cpufreq"}, "CPU frequency", "performance", 60),
    ("power", {"governors": ("performance", "schedutil"), "freq_driver": "acpi-cpufreq"}, "CPU frequency", "performance", 35),
    ("power", {"boost": Has.OFF}, "turbo", "no_turbo", 35),
    ("power", {"idle_states": (IdleState(name="C6", latency_us=170, disabled=False),)}, "C-states", "C6", 30),
    ("power", {"clock_source": "hpet"}, "clock source", "echo tsc", 80),
    ("power", {"clock_source": "hpet", "clock_sources": ("hpet",)}, "clock source", "dmesg", 80),
    ("devices", {"iommu_groups": 0}, "IOMMU", "intel_iommu=on", 40),
    ("devices", {"interrupt_remapping": False}, "interrupt remapping", "intremap=off", 40),
    ("devices", {"unsafe_interrupts": True}, "unsafe interrupts", "allow_unsafe_interrupts", 60),
    ("devices", {"vhost_net": Has.OFF}, "vhost-net", "modprobe vhost_net", 60),
    ("devices", {"vhost_net": Has.ABSENT}, "vhost-net", "CONFIG_VHOST_NET", 60),
    ("devices", {"functions": (replace(WELL.devices.functions[0], vfs=0),)}, "SR-IOV", "0000:31:00.0/sriov_numvfs", 15),
    ("kernel", {"command_line": ()}, "IOMMU", "iommu=pt", 20),
    ("kernel", {"vulnerabilities": {"mds": "Vulnerable: Clear CPU buffers attempted, no microcode"}}, "CPU flaws", "microcode", 70),
    ("kernel", {"vulnerabilities": {"mds": "Mitigation: Clear CPU buffers; SMT vulnerable"}}, "CPU flaws", "two threads", 35),
    ("kernel", {"command_line": ("iommu=pt", "mitigations=off")}, "kernel parameter mitigations", "one owner", 75),
    ("kernel", {"command_line": ("iommu=pt", "nopti")}, "kernel parameter nopti", "one owner", 75),
    ("kernel", {"command_line": ("iommu=pt", "mitigations=auto,no_guest_host")}, "kernel parameter mitigations", "mitigations=auto", 72),
]


@pytest.mark.parametrize(("part", "changes", "name", "word", "weight"), CASES, ids=[f"{case[2]}-{case[3]}" for case in CASES])
def test_a_rule(part: str, changes: dict[str, Any], name: str, word: str, weight: int) -> None:
    item = named(advice(with_(part, **changes)), name)
    assert word in item.advice
    assert item.weight == weight


def test_every_rule_is_tried() -> None:
    """By a case above, or a test below: what no rule says of WELL is said of a changed one."""
    tried = {case[2] for case in CASES}
    silent = {"costs", "split_pages", "injected_timers", "features", "threads", "isolation", "command_line", "accelerator", "modes"}
    for rule in RULES:
        said = {item.name for item in rule(WELL)}
        assert said & tried or rule.__name__ in silent, rule.__name__


@pytest.mark.parametrize("costly", kernel.COSTLY, ids=lambda costly: f"{costly.name}={'|'.join(costly.values)}")
def test_a_parameter_that_costs(costly: kernel.Costly) -> None:
    for value in costly.values or ("1",):
        word = f"{costly.name}={value}" if value else costly.name
        item = named(advice(with_("kernel", command_line=("iommu=pt", word))), f"kernel parameter {costly.name}")
        assert (item.meaning, item.advice, item.weight, item.value) == (costly.meaning, costly.advice, costly.weight, word)
    if costly.values:
        harmless = with_("kernel", command_line=("iommu=pt", f"{costly.name}=something-else"))
        assert not [item for item in advice(harmless) if item.name == f"kernel parameter {costly.name}"]


def test_what_is_asked_of_the_machine_is_what_is_looked_for() -> None:
    from houyi.host.probe.kernel import TOLD

    assert {costly.name for costly in kernel.COSTLY} <= TOLD


def test_split_pages_only_where_they_are_needless() -> None:
    needed = replace(with_("virt", nx_huge_pages=True), kernel=replace(WELL.kernel, vulnerabilities={"itlb_multihit": "KVM: Mitigation: Split huge pages"}))
    assert named(items(needed), "split huge pages").advice == ""
    needless = replace(needed, kernel=replace(WELL.kernel, vulnerabilities={"itlb_multihit": "Not affected"}))
    assert named(advice(needless), "split huge pages").weight == 45


def test_times_of_an_emulated_cpu_are_not_shown() -> None:
    said = {item.name: item.value for item in items(with_("accelerator", verdict="slow"))}
    assert said["VM exit to QEMU"] == "2.8 times one in the kernel"
    assert "VM exit in the kernel" not in said
    assert not any(value.endswith(" ns") for name, value in said.items() if name.startswith(("VM exit", "page fault")))
    assert named(items(WELL), "VM exit to QEMU").value == "2500 ns"


def test_a_vm_as_host_is_told_other_things() -> None:
    inside = with_("virt", inside_vm=True)
    assert named(items(replace(inside, devices=replace(WELL.devices, iommu_groups=0))), "IOMMU").weight == 10
    assert named(items(replace(inside, power=replace(WELL.power, clock_source="kvm-clock"))), "clock source").advice == ""
    assert named(items(replace(WELL, power=replace(WELL.power, clock_source="kvm-clock"))), "clock source").advice


def test_mitigations_that_are_paid_at_exits_are_named_and_not_advised_against() -> None:
    said = {
        "spectre_v2": "Mitigation: Enhanced / Automatic IBRS; PBRSB-eIBRS: SW sequence",
        "retbleed": "Mitigation: IBRS",
        "l1tf": "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT disabled",
        "vmscape": "Mitigation: IBPB before exit to userspace",
    }
    item = named(items(with_("kernel", vulnerabilities=said)), "mitigations at VM exits")
    assert item.value == "retbleed (IBRS), l1tf (cache flushes), vmscape (IBPB)"
    assert item.advice == ""


def test_isolated_cpus_are_named() -> None:
    assert named(items(with_("kernel", isolated="2-15", nohz_full="(null)")), "isolated CPUs").value == "2-15"
    assert not [item for item in items(with_("kernel", nohz_full="(null)")) if item.name == "tickless CPUs"]


def test_the_most_useful_comes_first() -> None:
    poor = replace(with_("memory", thp="never", ksm_run=1), kernel=replace(WELL.kernel, command_line=("iommu=pt", "highres=off", "audit=1")))
    weights = [item.weight for item in items(poor)]
    assert weights == sorted(weights, reverse=True)
    assert [item.name for item in advice(poor)] == [
        "kernel parameter highres",
        "page merging (KSM)",
        "transparent huge pages",
        "kernel parameter audit",
    ]


def test_nothing_known_is_said_so_with_the_reason() -> None:
    bare = HostTraits(
        accelerator=NATIVE,
        virt=VirtTraits(vendor="intel", module="kvm_intel"),
        memory=MemoryTraits(),
        power=PowerTraits(),
        devices=DeviceTraits(iommu_groups=None),
        unknown={"memory.thp": "/sys/x: Permission denied", "virt.apic": "no msr"},
    )
    said = {item.name: item for item in items(bare)}
    assert said["transparent huge pages"].value == "unknown: /sys/x: Permission denied"
    assert said["APICv"].value == "unknown: no msr"
    assert said["VT-x"].value.startswith("unknown: ")
    assert all(not item.advice for item in said.values()), "what is not known is no reason to change anything"
    assert items(replace(bare, unknown={"everything": "it hung"}))[-1].value == "unknown: it hung"
