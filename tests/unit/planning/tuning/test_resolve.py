"""Which setting holds where, and why not."""

from dataclasses import replace

import pytest

from houyi.model.host import HostFacts
from houyi.model.tuning import Source, TuningAsk
from houyi.planning.tuning.profiles import PROFILE_BY_NAME
from houyi.planning.tuning.resolve import differs, host_settings, in_force, refused, vm_settings
from tuned import KVM_FACTS, TCG_FACTS, spec_with

BARE = replace(KVM_FACTS, hugepages={"2048": 0}, numa=(), cpu_features=())


def why(facts: HostFacts, knob: str, value: str) -> str:
    (setting,) = vm_settings(spec_with(**{knob: value}), facts)
    return setting.why_not


@pytest.mark.parametrize(
    ("facts", "knob", "value", "reason"),
    [
        (TCG_FACTS, "pv_ipi", "on", "no KVM"),
        (TCG_FACTS, "tsc_deadline", "on", "cannot have"),
        (TCG_FACTS, "tsc_deadline", "off", ""),
        (TCG_FACTS, "hpet", "on", ""),
        (TCG_FACTS, "net_poll_us", "50", "no KVM"),
        (TCG_FACTS, "net_poll_us", "off", ""),
        (BARE, "hugepages", "2M", "2 MiB pages"),
        (BARE, "hugepages", "1G", "1 GiB pages"),
        (BARE, "pinning", "pinned", "which CPUs"),
        (BARE, "x2apic", "on", ""),
        (replace(BARE, cpu_features=("avx2",)), "x2apic", "on", "x2APIC"),
        (KVM_FACTS, "hugepages", "1G", ""),
        (KVM_FACTS, "pinning", "pinned", ""),
    ],
)
def test_what_a_host_lacks(facts: HostFacts, knob: str, value: str, reason: str) -> None:
    said = why(facts, knob, value)
    assert (reason in said) if reason else said == ""


def test_own_knobs_win_over_the_profile_which_wins_over_the_hosts() -> None:
    settings = vm_settings(spec_with(profile="latency", cpu_pm="off"), KVM_FACTS, "dense")
    by_knob = {setting.knob: setting for setting in settings}
    assert (by_knob["cpu_pm"].value, by_knob["cpu_pm"].source) == ("off", Source.OWN)
    assert by_knob["pinning"].source is Source.PROFILE
    assert "pv_unhalt" not in by_knob, "of the host's profile nothing is left when the VM names one"


def test_the_hosts_profile_is_for_vms_that_name_none() -> None:
    settings = vm_settings(spec_with(hpet="on"), KVM_FACTS, "dense")
    by_knob = {setting.knob: setting for setting in settings}
    assert by_knob["hpet"].source is Source.OWN
    assert (by_knob["io_poll_ns"].value, by_knob["io_poll_ns"].source) == ("0", Source.HOST_PROFILE)


def test_a_profile_gives_way_and_an_own_knob_is_refused() -> None:
    settings = vm_settings(spec_with(profile="latency"), TCG_FACTS)
    assert refused(settings) is None
    assert "pv_ipi" not in in_force(settings)
    assert in_force(settings)["hpet"] == "off"
    found = refused(vm_settings(spec_with(pv_ipi="on"), TCG_FACTS))
    assert found is not None
    assert found.knob == "pv_ipi"


def test_a_profile_gives_way_to_an_own_knob_that_excludes_it() -> None:
    settings = vm_settings(spec_with(profile="latency", net_backend="qemu"), KVM_FACTS)
    held = in_force(settings)
    assert held["net_backend"] == "qemu"
    assert "net_poll_us" not in held
    (poll,) = [setting for setting in settings if setting.knob == "net_poll_us"]
    assert poll.why_not == "it does not go with net_backend=qemu"


def test_what_a_later_version_wrote_down_is_left_out_and_said() -> None:
    (setting,) = vm_settings(spec_with(warp="9"), KVM_FACTS)
    assert "no such knob" in setting.why_not
    assert vm_settings(spec_with(profile="fast"), KVM_FACTS) == ()


def test_facts_that_are_not_known_forbid_nothing() -> None:
    assert in_force(vm_settings(spec_with(profile="latency"), None)) == dict(PROFILE_BY_NAME["latency"].vm)


def test_a_host_gets_its_profile_and_own_knobs_as_far_as_the_machine_has_them() -> None:
    settings = host_settings(TuningAsk(profile="latency", knobs={"ksm": "unmerge"}), frozenset({"ksm", "halt_poll_ns", "thp"}))
    assert in_force(settings) == {"ksm": "unmerge", "halt_poll_ns": "400000", "thp": "madvise"}
    assert next(setting for setting in settings if setting.knob == "avic").why_not == "this machine has no such thing"
    assert in_force(host_settings(TuningAsk())) == {}


def test_what_waits_for_the_next_start() -> None:
    assert differs({"hpet": "off", "pv_ipi": "on", "x2apic": "auto"}, {}) == {"pv_ipi": "on"}
    assert differs({"pv_ipi": "on"}, {"pv_ipi": "on"}) == {}
