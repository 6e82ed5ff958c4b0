"""From profiles and own knobs to the settings that hold on one host.

    of a VM:    own knobs > its profile (copied from its type at creation) > the profile of its host
    of a host:  own knobs > its profile

What comes from a profile gives way where the host lacks what it needs, or to an own knob that it does not go with; what is asked by an own knob and cannot be had
is a refusal, which placement and changes heed. Either way the setting is left out of what is started, and says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from houyi.model.host import Accelerator, HostFacts
from houyi.model.tuning import AUTO, Need, Scope, Setting, Settings, Source, TuningAsk
from houyi.model.vm import VmSpec
from houyi.planning.tuning.knobs import BY_NAME, allows, clash, needs
from houyi.planning.tuning.profiles import PROFILE_BY_NAME

NET_QUEUES_MAX = 8
"""Pairs that a card gets for the asking (`vcpus`): each costs the host a thread and the guest memory, and few guests fill more."""
IO_POLL_NS = 32768
"""What QEMU does without a setting."""
DISK_QUEUES_MAX = 16
"""What a disk has without a setting: more gain nothing behind one thread."""

_LACKS: Mapping[Need, str] = {
    Need.KVM: "this host has no KVM: its guests are emulated",
    Need.HUGEPAGES_2M: "this host has set no 2 MiB pages aside (vm.nr_hugepages)",
    Need.HUGEPAGES_1G: "this host has set no 1 GiB pages aside (hugepagesz=1G hugepages=N on its kernel command line)",
    Need.NUMA: "this host does not say which CPUs it has",
    Need.X2APIC: "guests on this host cannot have an x2APIC",
    Need.TSC_DEADLINE: "guests on this host cannot have a TSC deadline timer",
}


def lacks(facts: HostFacts, knob: str, value: str) -> str:
    """Why this host cannot have this setting; empty: it can."""
    for need in needs(BY_NAME[knob], value):
        if not _has(facts, need):
            return _LACKS[need]
    return ""


def _has(facts: HostFacts, need: Need) -> bool:
    match need:
        case Need.KVM:
            return facts.accelerator.accelerator is Accelerator.KVM
        case Need.HUGEPAGES_2M:
            return facts.hugepages.get("2048", 0) > 0
        case Need.HUGEPAGES_1G:
            return facts.hugepages.get("1048576", 0) > 0
        case Need.NUMA:
            return any(node.cpus for node in facts.numa)
        case Need.X2APIC | Need.TSC_DEADLINE:
            return need.value in facts.cpu_features or (not facts.cpu_features and _has(facts, Need.KVM))  # KVM emulates both


def vm_settings(spec: VmSpec, facts: HostFacts | None, host_profile: str = "") -> tuple[Setting, ...]:
    """Everything that is asked of a VM, by knob. :param facts: None: not known, so whatever they would forbid is taken to hold."""
    of_host = {} if spec.profile else _vm_part(host_profile)
    asked = ((Source.OWN, spec.knobs), (Source.PROFILE, _vm_part(spec.profile)), (Source.HOST_PROFILE, of_host))
    return tuple(sorted((_in_numbers(one, spec) for one in _resolve(asked, Scope.VM, facts)), key=lambda setting: setting.knob))


def _in_numbers(setting: Setting, spec: VmSpec) -> Setting:
    """What depends on the VM's size, as its host has to hear it and will read it back."""
    if (setting.knob, setting.value) == ("net_queues", "vcpus"):
        return replace(setting, value=str(min(spec.vcpus, NET_QUEUES_MAX)))
    if (setting.knob, setting.value) == ("io_poll_ns", str(IO_POLL_NS)):
        return replace(setting, value=AUTO)
    if setting.knob == "disk_queues" and setting.value == str(min(spec.vcpus, DISK_QUEUES_MAX)):
        return replace(setting, value=AUTO)
    return setting


def host_settings(ask: TuningAsk, has: frozenset[str] | None = None) -> tuple[Setting, ...]:
    """Everything that is asked of a host, by knob. :param has: the knobs that the machine has; None: not known."""
    of_profile = PROFILE_BY_NAME[ask.profile].host if ask.profile in PROFILE_BY_NAME else {}
    found = sorted(_resolve(((Source.OWN, ask.knobs), (Source.PROFILE, of_profile)), Scope.HOST, None), key=lambda setting: setting.knob)
    return tuple(found if has is None else [_where_there(setting, has) for setting in found])


def _where_there(setting: Setting, has: frozenset[str]) -> Setting:
    if setting.knob in has or setting.why_not:
        return setting
    return replace(setting, why_not="this machine has no such thing")


def in_force(settings: tuple[Setting, ...]) -> dict[str, str]:
    """Those that hold."""
    return {setting.knob: setting.value for setting in settings if not setting.why_not}


def refused(settings: tuple[Setting, ...]) -> Setting | None:
    """An own knob that cannot be had; None: there is none."""
    return next((setting for setting in settings if setting.source is Source.OWN and setting.why_not), None)


def differs(asked: Settings, running: Settings) -> dict[str, str]:
    """Settings that are asked and do not run yet: a VM's change that waits for its next start. What is left to others (`auto`) never differs."""
    return {name: value for name, value in asked.items() if name in BY_NAME and value != AUTO and running.get(name, BY_NAME[name].default) != value}


def _vm_part(profile: str) -> Settings:
    return PROFILE_BY_NAME[profile].vm if profile in PROFILE_BY_NAME else {}


def _resolve(asked: tuple[tuple[Source, Settings], ...], scope: Scope, facts: HostFacts | None) -> Iterator[Setting]:
    taken: dict[str, str] = {}
    said: set[str] = set()
    for source, settings in asked:
        for name, value in settings.items():
            if name in said:
                continue
            said.add(name)
            knob = BY_NAME.get(name)
            if knob is None or knob.scope is not scope or not allows(knob, value):
                yield Setting(knob=name, value=value, source=source, why_not="this version of Houyi knows no such knob or value")
                continue
            why_not = "" if facts is None else lacks(facts, name, value)
            found = None if why_not else clash(taken, knob, value)
            if found is not None:
                why_not = f"it does not go with {found[0]}={found[1]}"
            if not why_not:
                taken[name] = value
            yield Setting(knob=name, value=value, source=source, why_not=why_not)
