"""What the kernel's tables of VM exits say, in the words of a real kernel (6.1, AMD's virtualization)."""

import pytest

from houyi.model.exits import ExitProfile, Spent, Virtualization
from houyi.model.ids import VmId
from houyi.model.tuning import Symptom
from houyi.planning.exits import SYMPTOMS, ExitReading, parse_histograms, profile, reason_name, sound, symptoms

EXIT = """# event histogram
#
# trigger info: hist:keys=common_pid,exit_reason:vals=hitcount:sort=hitcount:size=4096 [active]
#

{ common_pid:        799, exit_reason:        120 } hitcount:          9
{ common_pid:        799, exit_reason:         96 } hitcount:         16
{ common_pid:        801, exit_reason: 4294967295 } hitcount:        310

Totals:
    Hits: 335
    Entries: 3
    Dropped: 4


# event histogram
#
# trigger info: hist:keys=common_pid:vals=hitcount:left=common_timestamp,why=exit_reason:sort=hitcount:size=2048:clock=global [active]
#

{ common_pid:        799 } hitcount:        960

Totals:
    Hits: 960
    Entries: 1
    Dropped: 0
"""
OUTSIDE = """# event histogram
#
# trigger info: hist:keys=thread,reason:vals=hitcount,outside:sort=hitcount:size=4096 [active]
#

{ thread:        799, reason:        120 } hitcount:          8  outside:   98768373

Totals:
    Hits: 8
    Entries: 1
    Dropped: 0
"""
A = VmId("a")


def test_tables_are_read() -> None:
    exits, matched = parse_histograms(EXIT)
    assert exits.keys == ("common_pid", "exit_reason")
    assert exits.hits == {(799, 120): 9, (799, 96): 16, (801, 4294967295): 310}
    assert (exits.sums, exits.dropped) == ({}, 4)
    assert (matched.keys, matched.hits, matched.dropped) == (("common_pid",), {(799,): 960}, 0)
    (outside,) = parse_histograms(OUTSIDE)
    assert (outside.hits, outside.sums) == ({(799, 120): 8}, {"outside": {(799, 120): 98768373}})
    assert parse_histograms("") == ()
    assert parse_histograms("# event histogram\n#\n{ nonsense } hitcount: 3\n")[0].hits == {}


def test_a_profile_is_what_came_between_two_readings() -> None:
    before = ExitReading(exits={(1, 0x78): 10, (1, 0x7C): 5, (9, 0x78): 100}, outside_ns={(1, 0x78): 1000}, msrs={(1, 0x6E0, 1): 2}, dropped=1)
    after = ExitReading(
        exits={(1, 0x78): 15, (2, 0x78): 7, (1, 0x7C): 105, (9, 0x78): 900, (1, 0x72): 0},
        outside_ns={(1, 0x78): 6000, (2, 0x78): 500, (9, 0x78): 1 << 40},
        msrs={(1, 0x6E0, 1): 82, (1, 0xABC, 0): 3, (9, 0x6E0, 1): 999},
        dropped=1,
    )
    found = profile(A, before, after, {1, 2}, Virtualization.SVM, began_at=5.0, seconds=2.0)
    assert dict(found.reasons) == {"msr": Spent(100, 0), "hlt": Spent(12, 5500)}
    assert list(found.reasons) == ["msr", "hlt"], "the most frequent first"
    assert dict(found.msrs) == {"write tsc_deadline": 80, "read 0xabc": 3}
    assert (found.count, found.dropped, found.seconds) == (112, 0, 2.0)


def test_a_table_that_was_made_anew_is_not_negative() -> None:
    found = profile(A, ExitReading(exits={(1, 0x78): 50}), ExitReading(exits={(1, 0x78): 3}), {1}, Virtualization.SVM, 0.0, 1.0)
    assert found.reasons == {"hlt": Spent(3, 0)}


@pytest.mark.parametrize(
    ("kind", "number", "name"),
    [
        (Virtualization.SVM, 0x78, "hlt"),
        (Virtualization.SVM, 0x400, "npf"),
        (Virtualization.SVM, 0xFFFFFFFF, "invalid_guest_state"),
        (Virtualization.SVM, 0x999, "0x999"),
        (Virtualization.VMX, 12, "hlt"),
        (Virtualization.VMX, 48, "ept_violation"),
        (Virtualization.VMX, 0x80000000 | 33, "invalid_state"),
        (Virtualization.VMX, 999, "0x3e7"),
    ],
)
def test_reasons_have_the_kernels_names(kind: Virtualization, number: int, name: str) -> None:
    assert reason_name(kind, number) == name


def test_what_exits_are_about() -> None:
    reasons = {"msr": Spent(100, 0), "hlt": Spent(60, 0), "npf": Spent(2, 0), "smi": Spent(1, 0)}
    one = ExitProfile(
        vm_id=A,
        began_at=1.0,
        seconds=2.0,
        virtualization=Virtualization.SVM,
        reasons=reasons,
        msrs={"write tsc_deadline": 50, "write x2apic_icr": 20, "write x2apic_eoi": 10, "read 0x123": 3},
    )
    expected = {Symptom.HALT: 30.0, Symptom.TIMER: 25.0, Symptom.IPI: 10.0, Symptom.MSR: 10.0, Symptom.EOI: 5.0, Symptom.PAGE_FAULT: 1.0}
    assert symptoms(one) == expected
    assert next(iter(symptoms(one))) is Symptom.HALT


def test_every_reason_that_has_a_meaning_is_one() -> None:
    from houyi.planning.exit_reasons import SVM, VMX

    assert set(SYMPTOMS) <= set(SVM.values()) | set(VMX.values())


def test_what_a_host_answers_is_not_simply_believed() -> None:
    good = ExitProfile(
        vm_id=A, began_at=1.0, seconds=2.0, virtualization=Virtualization.VMX, reasons={"hlt": Spent(1, 1), "<b>": Spent(1, 1), "io": Spent(-1, 0)}
    )
    found = sound(good, A)
    assert found is not None
    assert dict(found.reasons) == {"hlt": Spent(1, 1)}
    assert sound(good, VmId("b")) is None
    for wrong in ({"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1e6}, {"began_at": -1.0}, {"dropped": -1}):
        assert sound(ExitProfile(**{**{name: getattr(good, name) for name in good.__dataclass_fields__}, **wrong}), A) is None, wrong
