"""Advice: what addresses the dominant exits comes first; what is on, cannot be had or would contradict the VM's owner is not said."""

from dataclasses import replace

import pytest

from houyi.model.ids import VmId
from houyi.model.telemetry import VcpuRates, VmRates
from houyi.model.tuning import Scope, Symptom
from houyi.planning.tuning.advise import REMEDIES, Picture, Place, advise, picture_of, traced_picture
from houyi.planning.tuning.knobs import BY_NAME, allows
from tuned import KVM_FACTS, TCG_FACTS

S = Symptom
HOST = {"halt_poll_ns": "200000", "ksm": "on", "thp": "never", "avic": "off", "governor": "schedutil"}
PLACE = Place(running={}, asked={}, facts=KVM_FACTS, host=HOST)


def picture(*, busy: float | None = 0.9, steal: float = 0.0, **exits: float) -> Picture:
    by_class = {Symptom(name): count for name, count in exits.items()}
    return Picture(exits=by_class, exits_s=sum(exits.values()), waits={S.STEAL: steal}, busy=busy)


def names(found: Picture, place: Place = PLACE) -> list[str]:
    return [one.knob.name for one in advise(found, place)]


@pytest.mark.parametrize(
    ("exits", "first", "among"),
    [
        ({"halt": 9000, "io": 100}, "cpu_pm", {"dedicated_hint"}),
        ({"kick": 5000, "interrupt": 5000}, "net_poll_us", {"avic"}),
        ({"ipi": 5000, "halt": 100}, "avic", {"pv_ipi", "x2apic"}),
        ({"eoi": 5000}, "avic", set()),
        ({"timer": 5000}, "tsc_deadline", {"x2apic"}),
        ({"page_fault": 5000}, "hugepages", {"memory_prealloc", "thp", "ksm"}),
        ({"pause": 5000}, "pv_unhalt", {"cpu_pm"}),
        ({"tlb": 5000}, "pv_tlb_flush", set()),
        ({"io": 5000}, "pit", set()),
    ],
)
def test_the_dominant_exits_decide(exits: dict[str, float], first: str, among: set[str]) -> None:
    found = names(picture(**exits))
    assert found[0] == first
    assert among <= set(found)


def test_it_is_in_order_of_what_it_may_gain_and_says_why() -> None:
    found = advise(picture(halt=6000, ipi=3000, io=1000), PLACE)
    assert [one.gain for one in found] == sorted((one.gain for one in found), reverse=True)
    top = found[0]
    assert (top.knob.name, top.value, top.symptom, round(top.share, 2)) == ("cpu_pm", "on", S.HALT, 0.6)
    assert top.why.startswith("60% of its exits are about halt (6000 a second): HLT, MWAIT and PAUSE")
    assert top.why.endswith("from its next start on")


def test_what_is_on_already_is_not_said() -> None:
    halts = picture(halt=9000)
    assert "cpu_pm" not in names(halts, replace(PLACE, running={"cpu_pm": "on"}))
    faults = picture(page_fault=9000)
    assert "hugepages" not in names(faults, replace(PLACE, running={"hugepages": "1G"})), "as good, or better"
    assert "ksm" not in names(faults, replace(PLACE, host={**HOST, "ksm": "unmerge"}))
    assert "pv_eoi" not in names(picture(eoi=9000)), "QEMU offers it by itself"
    assert "pv_eoi" in names(picture(eoi=9000), replace(PLACE, running={"pv_eoi": "off"}))


def test_what_cannot_be_had_is_not_said() -> None:
    assert "pv_ipi" not in names(picture(ipi=9000), replace(PLACE, facts=TCG_FACTS))
    assert "avic" not in names(picture(ipi=9000), replace(PLACE, host={}))
    assert "hugepages" not in names(picture(page_fault=9000), replace(PLACE, facts=replace(KVM_FACTS, hugepages={})))


def test_an_own_knob_is_not_talked_out_of_its_value() -> None:
    assert "cpu_pm" not in names(picture(halt=9000), replace(PLACE, asked={"cpu_pm": "off"}))
    assert "net_poll_us" not in names(picture(kick=9000), replace(PLACE, asked={"net_backend": "qemu"}))


def test_an_idle_guest_is_not_told_to_poll() -> None:
    found = names(picture(busy=0.02, halt=9000, kick=2000))
    assert not {"cpu_pm", "net_poll_us", "dedicated_hint"} & set(found)
    assert "cpu_pm" in names(picture(busy=None, halt=9000))


def test_few_exits_are_not_worth_advice() -> None:
    assert names(picture(halt=99)) == []
    assert names(picture(halt=1_000_000, ipi=10), replace(PLACE, running={"cpu_pm": "on", "dedicated_hint": "on"}, host={})) == []


def test_steal_is_a_wait_not_an_exit() -> None:
    found = advise(picture(steal=0.3), PLACE)
    assert found[0].knob.name == "pinning"
    assert "in steal for 30% of their time" in found[0].why
    assert names(picture(steal=0.01)) == []


def test_a_picture_from_counters() -> None:
    rates = VmRates(
        vm_id=VmId("v"),
        began_at=0.0,
        ended_at=10.0,
        kvm=True,
        exits={"exits": 1000.0, "halt_exits": 600.0, "irq_exits": 100.0, "irq_window_exits": 50.0, "halt_poll_success_ns": 5.0},
        vcpus=(VcpuRates(number=0, cpu=0.5, delay=0.1), VcpuRates(number=1, cpu=0.1)),
    )
    found = picture_of(rates)
    assert found.exits == {S.HALT: 600.0, S.INTERRUPT: 150.0}
    assert (found.exits_s, found.busy, found.waits) == (1000.0, 0.3, {S.STEAL: 0.05})
    assert picture_of(replace(rates, vcpus=(), exits={})).busy is None


def test_kicks_are_told_from_page_faults_by_what_was_counted() -> None:
    rates = VmRates(vm_id=VmId("v"), began_at=0.0, ended_at=10.0, kvm=True, exits={"exits": 900.0, "pf_taken": 50.0, "mmio_exits": 20.0})
    found = traced_picture({S.PAGE_FAULT: 500.0, S.MMIO: 100.0, S.HALT: 300.0}, 900.0, rates)
    assert found.exits == {S.PAGE_FAULT: 50.0, S.MMIO: 20.0, S.KICK: 530.0, S.HALT: 300.0}
    assert names(found)[0] == "net_poll_us"
    unknown = traced_picture({S.PAGE_FAULT: 500.0}, 500.0, None)
    assert (unknown.exits, unknown.busy, unknown.waits) == ({S.PAGE_FAULT: 500.0}, None, {})


def test_remedies_are_settings_of_ours_and_against_what_their_knobs_change() -> None:
    for remedy in REMEDIES:
        knob = BY_NAME[remedy.knob]
        assert allows(knob, remedy.value)
        assert all(value == "auto" or allows(knob, value) for value in remedy.as_good)
        assert set(remedy.against) <= set(knob.changes), remedy.knob
        assert all(0 < part <= 1 for part in remedy.against.values())
        assert knob.scope is Scope.HOST or remedy.value != knob.default or remedy.knob.endswith("event_idx") or remedy.knob == "hpet"
