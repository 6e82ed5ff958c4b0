"""What CPU and KVM do for guests, and what leaving a guest costs."""

from collections.abc import Iterator

from houyi.model.host import Accelerator
from houyi.model.host_report import Area, Has, HostTraits, Item
from houyi.planning.host_rules.words import in_words, unknown

EXIT_NS_MUCH = 3000
"""An exit that the kernel handles takes 500 to 1500 ns on CPUs of the last ten years, their mitigations included; nested in another hypervisor many times that."""

_VERDICT_ADVICE = {
    "absent": "switch VT-x or SVM on in the firmware (inside a VM: nested virtualization in the hypervisor below), and load kvm_intel or kvm_amd",
    "denied": "run the agent as root, or in the group that may open /dev/kvm",
    "broken": "switch VT-x or SVM on in the firmware, and update kernel and firmware: this KVM cannot run 64-bit code",
    "hang": "update the kernel, or the hypervisor below: guest code under this KVM never comes back",
    "emulated": "use a machine with VT-x or SVM, or a hypervisor below that passes it through: this KVM interprets guests",
    "slow": "use it for tests only: the CPU below is itself emulated",
    "forced": "take out the setting agent.accelerator, unless it is meant: it keeps VMs from what the machine can do",
}


def _item(name: str, value: str, meaning: str, advice: str = "", weight: int = 0) -> Item:
    return Item(name=name, area=Area.VIRTUALIZATION, value=value, meaning=meaning, advice=advice, weight=weight if advice else 0)


def accelerator(traits: HostTraits) -> Iterator[Item]:
    probe = traits.accelerator
    kvm = probe.accelerator is Accelerator.KVM
    meaning = "guests run on the CPU itself" if kvm else "guests are emulated (TCG): right, but 10 to 50 times slower"
    if probe.verdict == "slow":
        meaning = "guests run under KVM on an emulated CPU: right, and their exits can be counted, but no time says anything"
    advice = "" if kvm and probe.verdict == "forced" else _VERDICT_ADVICE.get(probe.verdict, "")
    yield _item("accelerator", f"{probe.accelerator.value} ({probe.verdict}): {probe.reason}", meaning, advice, 60 if kvm else 100)


def hardware(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    name = {"intel": "VT-x", "amd": "SVM"}.get(virt.vendor, "hardware virtualization")
    advice = ""
    if virt.hardware is Has.OFF:
        advice = f"load its module: `modprobe {'kvm_intel' if virt.vendor == 'intel' else 'kvm_amd'}`; if that fails, switch {name} on in the firmware"
    elif virt.hardware is Has.ABSENT:
        below = "in the hypervisor below, pass the host's CPU through with nested virtualization" if virt.inside_vm else f"switch {name} on in the firmware"
        advice = f"{below}: VMs run under emulation until then"
    yield _item(name, in_words(traits, "virt.hardware", virt.hardware), "the CPU runs guests by itself; without it there is no real KVM", advice, 95)


def nested_paging(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    if virt.hardware is Has.ABSENT:
        return  # what follows is of the hardware that is not there: said once is enough
    name, module, option = ("EPT", "kvm_intel", "ept") if virt.vendor == "intel" else ("NPT", "kvm_amd", "npt")
    advice = f"load {module} with {option}=1: `options {module} {option}=1` in /etc/modprobe.d" if virt.nested_paging is Has.OFF else ""
    meaning = "the CPU walks the host's page tables for guests; without it each change of a guest's page tables is an exit"
    yield _item(name, in_words(traits, "virt.nested_paging", virt.nested_paging), meaning, advice, 90)


def tags(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    if virt.hardware is Has.ABSENT:
        return
    advice = "load kvm_intel with vpid=1: `options kvm_intel vpid=1` in /etc/modprobe.d" if virt.vpid is Has.OFF and virt.vendor == "intel" else ""
    name = "VPID" if virt.vendor == "intel" else "ASIDs"
    yield _item(name, in_words(traits, "virt.vpid", virt.vpid), "translations are kept over VM exits; without it each exit empties the TLB", advice, 70)


def apic(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    if virt.hardware is Has.ABSENT:
        return
    name, module, option = ("APICv", "kvm_intel", "enable_apicv") if virt.vendor == "intel" else ("AVIC", "kvm_amd", "avic")
    advice = ""
    if virt.apic is Has.OFF:
        advice = f"load {module} with {option}=1: `options {module} {option}=1` in /etc/modprobe.d"
        if virt.vendor == "amd":
            advice += "; guests have it only while they use no nested virtualization, and an x2APIC only where the CPU has x2AVIC"
    meaning = "interrupts between virtual CPUs, and their acknowledgements, without exits; without it PV EOI and x2APIC in the guest save a part of them"
    yield _item(name, in_words(traits, "virt.apic", virt.apic), meaning, advice, 60)


def posted_interrupts(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    if virt.hardware is Has.ABSENT:
        return
    meaning = "interrupts of devices that a guest was given reach it while it runs, without an exit"
    advice = "" if virt.posted_interrupts is not Has.OFF else "it comes with APICv or AVIC: switch that on"
    yield _item("posted interrupts", in_words(traits, "virt.posted_interrupts", virt.posted_interrupts), meaning, advice, 30)


def modes(traits: HostTraits) -> Iterator[Item]:
    virt = traits.virt
    if virt.hardware is Has.ABSENT:
        return
    real = "load kvm_intel with unrestricted_guest=1" if virt.unrestricted_guest is Has.OFF else ""
    meaning = "firmware and boot loaders of guests run on the CPU; without it KVM interprets them"
    yield _item("unrestricted guest", in_words(traits, "virt.unrestricted_guest", virt.unrestricted_guest), meaning, real, 30)
    if virt.vendor == "intel":
        timer = "load kvm_intel with preemption_timer=1" if virt.preemption_timer is Has.OFF else ""
        meaning = "a guest's timer runs out on the CPU itself, at a cheaper exit than that of a timer of the host"
        yield _item("preemption timer", in_words(traits, "virt.preemption_timer", virt.preemption_timer), meaning, timer, 25)
    nested = (
        "guests can run VMs of their own" if virt.nested is Has.ON else "guests cannot run VMs of their own: where they shall, load KVM's module with nested=1"
    )
    yield _item("nested virtualization", in_words(traits, "virt.nested", virt.nested), nested)


_EXITS = (
    ("cpuid", "VM exit in the kernel", "what every exit costs at least: guests with fewer exits get more of the CPU"),
    ("out", "VM exit to QEMU", "what a device that QEMU emulates costs at each access: virtio with vhost has few of them"),
    ("mmio", "VM exit to QEMU by memory", "the same where the device is memory: KVM has to interpret an instruction as well"),
    ("page_fault", "page fault of a guest", "what the first touch of each 4 KiB of memory costs: huge pages and memory set aside have hundreds of times fewer"),
)


def costs(traits: HostTraits) -> Iterator[Item]:
    """As times where they mean something; on an emulated CPU as ratios."""
    taken, slow = traits.accelerator.exit_ns, traits.accelerator.verdict == "slow"
    least = taken.get("cpuid", 0)
    for kind, name, meaning in _EXITS:
        if kind not in taken:
            continue
        if slow and kind == "cpuid":
            continue
        value = f"{taken[kind] / max(least, 1):.1f} times one in the kernel" if slow else f"{taken[kind]} ns"
        advice = ""
        if kind == "cpuid" and not slow and least > EXIT_NS_MUCH:
            below = "the hypervisor below takes part in each exit: a physical machine has them many times cheaper"
            advice = below if traits.virt.inside_vm else "see which mitigations apply at each exit, and the governor: this is more than the CPU itself takes"
        yield _item(name, value, meaning, advice, 50)


def halt_polling(traits: HostTraits) -> Iterator[Item]:
    polls = traits.virt.halt_poll
    if "halt_poll_ns" not in polls:
        if traits.virt.module:
            yield _item("halt polling", unknown(traits, "virt.halt_poll"), "how long the host waits for a guest that has nothing to do before it sleeps")
        return
    ns = polls["halt_poll_ns"]
    meaning = (
        "an idle virtual CPU sleeps at once: no CPU time is lost, but each wake-up pays for the scheduler and the CPU's idle state"
        if ns == 0
        else "an idle virtual CPU is waited for that long before it sleeps: wake-ups are faster, for CPU time of the host"
    )
    advice = "`echo 200000 > /sys/module/kvm/parameters/halt_poll_ns` where guests are to answer fast" if ns == 0 else ""
    rest = ", ".join(f"{name.removeprefix('halt_poll_ns_')} {value}" for name, value in sorted(polls.items()) if name != "halt_poll_ns")
    yield _item("halt polling", f"up to {ns} ns" + (f" ({rest})" if rest else ""), meaning, advice, 20)


def split_pages(traits: HostTraits) -> Iterator[Item]:
    on = traits.virt.nx_huge_pages
    if not on:
        return
    flaw = traits.kernel.vulnerabilities.get("itlb_multihit", "")
    needless = flaw == "Not affected"
    advice = "boot with kvm.nx_huge_pages=off: the CPU does not have the flaw" if needless else ""
    meaning = "KVM splits huge pages that guests run code from, against a flaw of older Intel CPUs (iTLB multihit): more page faults and slower translation"
    yield _item("split huge pages", "on", meaning, advice, 45)


def injected_timers(traits: HostTraits) -> Iterator[Item]:
    on = traits.virt.pi_inject_timer
    if on is not None:
        meaning = "timers of guests run out without an exit of theirs, if CPUs are left free for it (isolcpus, nohz_full) and interrupts can be posted"
        yield _item("exitless timers", "on" if on else "off", meaning)


def features(traits: HostTraits) -> Iterator[Item]:
    """What KVM says of itself."""
    can = traits.accelerator.capabilities
    if not can:
        return
    bits = can.get("disable_exits", 0)
    without = [name for bit, name in ((1, "MWAIT"), (2, "HLT"), (4, "PAUSE"), (8, "C-states")) if bits & bit]
    meaning = (
        "a guest with CPUs of its own may idle or spin on them without leaving (QEMU's cpu-pm)" if without else "guests leave at each idle moment and spin"
    )
    yield _item("exits that can be left out", ", ".join(without) or "none", meaning)
    names = ", ".join(sorted(name for name, value in can.items() if value and name not in ("disable_exits", "vcpus_max")))
    yield _item("KVM's features", f"{names}; at most {can.get('vcpus_max', 0)} virtual CPUs a guest", "what KVM can do that QEMU makes use of")


RULES = (
    accelerator,
    hardware,
    nested_paging,
    tags,
    apic,
    posted_interrupts,
    modes,
    costs,
    halt_polling,
    split_pages,
    injected_timers,
    features,
)
