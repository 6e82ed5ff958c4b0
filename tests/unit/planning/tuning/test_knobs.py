"""The knobs and profiles themselves: each says what it is, and nothing contradicts itself."""

import pytest

from houyi.model.errors import Invalid, NotFound
from houyi.model.tuning import AUTO, Means, Scope, Subject, Takes
from houyi.planning.tuning.knobs import BY_NAME, KNOBS, allows, check_settings, clash, knob_named, values_in_words
from houyi.planning.tuning.profiles import PROFILES, check_profile
from houyi.planning.tuning.resolve import in_force, vm_settings
from tuned import KVM_FACTS, spec_with

NAMED = {
    *("pi_inject_timer", "tsc_deadline", "kvmclock", "hpet", "pit"),
    *("pv_ipi", "pv_eoi", "pv_tlb_flush", "pv_unhalt", "poll_control", "dedicated_hint", "cpu_pm", "avic", "apicv", "x2apic", "hyperv"),
    *("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink"),
    *("hugepages", "thp", "ksm", "page_sharing", "free_page_reporting", "pinning", "numa_memory"),
    *("io_threads", "net_queues", "disk_queues", "net_backend", "net_poll_us", "net_event_idx", "disk_event_idx", "net_coalesce"),
    *("governor", "c_states", "cpu_dma_latency"),
}
"""What the platform promises to have."""


def test_every_promised_knob_is_there_once() -> None:
    assert set(BY_NAME) >= NAMED
    assert len(BY_NAME) == len(KNOBS)
    assert {knob.subject for knob in KNOBS} == set(Subject)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_knob_says_what_it_is(knob) -> None:  # type: ignore[no-untyped-def]
    assert knob.what
    assert knob.changes
    assert len(knob.choices) + (knob.numbers is not None) >= 1
    assert len({choice.value for choice in knob.choices}) == len(knob.choices)
    assert all(choice.what for choice in knob.choices)
    assert knob.default == AUTO or allows(knob, knob.default)
    if knob.scope is Scope.VM:
        assert allows(knob, knob.default), "what a VM has without it can be asked for, over a profile"
        assert knob.means in (Means.LIBVIRT, Means.QEMU)
        assert knob.takes in (Takes.LIVE, Takes.NEXT_START)
    else:
        assert knob.means in (Means.FILE, Means.MODULE, Means.DEVICE)
        assert (knob.takes is Takes.NEXT_LOAD) is (knob.means is Means.MODULE)
    for choice in (*knob.choices, *((knob.numbers,) if knob.numbers else ())):
        for other, values in choice.excludes.items():
            assert all(allows(BY_NAME[other], value) for value in values), other


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_holds_together(profile) -> None:  # type: ignore[no-untyped-def]
    check_settings(profile.vm, Scope.VM)
    check_settings(profile.host, Scope.HOST)
    check_profile(profile.name)
    settings = vm_settings(spec_with(profile=profile.name), KVM_FACTS)
    given = {name: "2" if value == "vcpus" else value for name, value in profile.vm.items()}
    assert in_force(settings) == given, "a machine that has everything gives everything"


@pytest.mark.parametrize("value", ["", "-1", "01", "1e3", " 5", "10001", "9" * 40, "٣", "5.0"])
def test_numbers_are_written_in_one_way(value: str) -> None:
    assert not allows(BY_NAME["net_poll_us"], value)


def test_values_of_a_knob_in_words() -> None:
    assert values_in_words(BY_NAME["net_poll_us"]) == "off, or 1 to 10000 us"
    assert values_in_words(BY_NAME["thp"]) == "always, madvise, never"
    assert values_in_words(BY_NAME["halt_poll_ns"]) == "0 to 1000000 ns"
    assert allows(BY_NAME["net_poll_us"], "10000")


@pytest.mark.parametrize(
    ("settings", "scope", "code"),
    [
        ({"warp": "9"}, Scope.VM, "knob_unknown"),
        ({"ksm": "off"}, Scope.VM, "knob_scope"),
        ({"pv_ipi": "on"}, Scope.HOST, "knob_scope"),
        ({"pv_ipi": "maybe"}, Scope.VM, "knob_value_invalid"),
        ({"halt_poll_ns": "1000001"}, Scope.HOST, "knob_value_invalid"),
        ({"hugepages": "2M", "free_page_reporting": "on"}, Scope.VM, "knobs_exclude"),
        ({"net_backend": "qemu", "net_poll_us": "50"}, Scope.VM, "knobs_exclude"),
        ({"net_coalesce": "timer", "net_backend": "vhost"}, Scope.VM, "knobs_exclude"),
    ],
)
def test_what_can_never_be_is_refused(settings: dict[str, str], scope: Scope, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_settings(settings, scope)
    assert refused.value.code == code


def test_exclusion_is_seen_from_both_sides() -> None:
    assert clash({"net_poll_us": "50"}, BY_NAME["net_backend"], "qemu") == ("net_poll_us", "50")
    assert clash({"net_backend": "qemu"}, BY_NAME["net_poll_us"], "50") == ("net_backend", "qemu")
    assert clash({"net_backend": "vhost"}, BY_NAME["net_poll_us"], "50") is None


def test_unknown_names() -> None:
    with pytest.raises(NotFound):
        knob_named("warp")
    with pytest.raises(Invalid, match="balanced, latency, throughput, dense"):
        check_profile("fast")
