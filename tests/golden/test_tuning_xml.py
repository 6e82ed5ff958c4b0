"""VM knobs in domain XML: every value of every knob as the difference that it makes, each profile whole, against golden files and libvirt's own schema; and read back.

To accept a wanted change: HOUYI_GOLDEN=write pytest tests/golden, then read the diff.
"""

import difflib
import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from houyi.host.domxml import domain_element
from houyi.host.domxml.context import DomainContext
from houyi.host.domxml.tuning import FITTINGS, tuned
from houyi.host.domxml.tuning.cpu import pinned_cpus
from houyi.host.domxml.tuning.fitting import arguments
from houyi.model.tuning import AUTO, Knob, Means, Profile, Scope
from houyi.planning.tuning.knobs import BY_NAME, KNOBS
from houyi.planning.tuning.profiles import PROFILES
from houyi.planning.tuning.resolve import differs
from tuned import context

FOLDER = Path(__file__).parent / "tuning"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
VM_KNOBS = tuple(knob for knob in KNOBS if knob.scope is Scope.VM)
IN_WORDS = {"net_queues": ("vcpus",)}
"""Values that `planning.tuning.resolve` turns into numbers before a host hears of them."""


def values(knob: Knob) -> list[str]:
    """Every choice, and the ends of its numbers."""
    numbers = [] if knob.numbers is None else [str(knob.numbers.least), str(knob.numbers.most)]
    chosen = [choice.value for choice in knob.choices if choice.value not in IN_WORDS.get(knob.name, ())]
    return [*dict.fromkeys([*chosen, *numbers])]


def text(ctx: DomainContext) -> str:
    element = domain_element(ctx)
    ET.indent(element)
    return ET.tostring(element, encoding="unicode") + "\n"


def against(path: Path, found: str) -> None:
    if os.environ.get("HOUYI_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert found == path.read_text()


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(file=str(SCHEMA))


@pytest.mark.parametrize("knob", VM_KNOBS, ids=lambda knob: knob.name)
def test_what_each_value_changes(knob: Knob) -> None:
    plain = text(context({})).splitlines()
    parts = []
    for value in values(knob):
        lines = difflib.unified_diff(plain, text(context({knob.name: value})).splitlines(), n=1, lineterm="")
        parts.append(f"== {knob.name}={value}\n" + "".join(f"{line}\n" for line in lines if not line.startswith(("---", "+++"))))
    against(FOLDER / f"{knob.name}.diff", "".join(parts))


@pytest.mark.parametrize("knob", VM_KNOBS, ids=lambda knob: knob.name)
def test_each_value_is_valid_and_is_read_back(knob: Knob, schema: etree.RelaxNG) -> None:
    for value in values(knob):
        xml = text(context({knob.name: value}))
        document = etree.fromstring(xml)
        assert schema.validate(document), schema.error_log
        running = tuned(ET.fromstring(xml))
        assert differs({knob.name: value}, running) == {}, value
        if value not in (knob.default, AUTO):
            assert running[knob.name] == value
            assert (bool(arguments(ET.fromstring(xml)))) is (knob.means is Means.QEMU and (knob.name, value) != ("pv_ipi", "off"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_each_profile(profile: Profile, schema: etree.RelaxNG) -> None:
    ctx = context({**profile.vm, "net_queues": "2"} if "net_queues" in profile.vm else profile.vm)
    against(FOLDER / f"profile-{profile.name}.xml", text(ctx))
    assert schema.validate(etree.fromstring(text(ctx))), schema.error_log
    assert differs(ctx.vm.tuning, tuned(ET.fromstring(text(ctx)))) == {}


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*(f"{knob.name}.diff" for knob in VM_KNOBS), *(f"profile-{one.name}.xml" for one in PROFILES)}


def test_every_vm_knob_has_its_fitting() -> None:
    assert set(FITTINGS) == {knob.name for knob in VM_KNOBS}


def test_without_settings_nothing_is_tuned() -> None:
    assert tuned(domain_element(context({}))) == {}
    assert tuned(ET.fromstring("<domain/>")) == {}


def test_defaults_change_nothing() -> None:
    assert text(context({name: BY_NAME[name].default for name in FITTINGS})) == text(context({}))


def test_nothing_is_pinned_where_no_cpus_were_chosen() -> None:
    domain = domain_element(replace(context({"pinning": "pinned"}), cpus=()))
    assert pinned_cpus(domain) == []
    assert pinned_cpus(domain_element(context({"pinning": "pinned"}))) == [2, 3]
    assert domain_element(context({"pinning": "pinned"}, vcpus=4)).find("cputune/emulatorpin") is None, "no CPU is left for it"


def test_a_vm_without_a_card_polls_nothing() -> None:
    ctx = context({"net_poll_us": "50"})
    assert arguments(domain_element(replace(ctx, vm=replace(ctx.vm, nics=())))) == []


def test_disk_queues_as_without_the_knob_are_no_setting() -> None:
    assert "disk_queues" not in tuned(domain_element(context({"disk_queues": "2"})))


def test_what_others_have_written_is_read_without_harm() -> None:
    domain = ET.fromstring(
        '<domain><vcpu>x</vcpu><memoryBacking><hugepages><page size="many" unit="KiB"/></hugepages></memoryBacking>'
        '<cputune><vcpupin vcpu="0" cpuset="0-3"/></cputune><clock><timer name="hpet" present="maybe"/></clock></domain>'
    )
    assert tuned(domain) == {}
