"""Domain XML against golden files, libvirt's own schema, and hostile input.

To accept a wanted change: HOUYI_GOLDEN=write pytest tests/golden, then read the diff.
"""

import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from houyi.host.domxml import CONFIGURATORS, domain_element, domain_xml
from houyi.host.domxml.context import DomainContext, VmPaths
from houyi.host.domxml.metadata import Mark, metadata_xml, read_mark
from houyi.model.cpu import GuestCpu
from houyi.model.errors import Invalid
from houyi.model.host import Accelerator, NumaNode
from houyi.model.ids import ImageId, NetworkId, ProjectId, VmId
from houyi.model.image import DiskFormat
from houyi.model.vm import DesiredNic, DesiredVm, Firmware, Power, Remedy, Trouble, VmSpec

FOLDER = Path(__file__).parent / "domain"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
ID = VmId("11111111-2222-4333-8444-555555555555")
VM_FOLDER = Path("/var/lib/houyi/vms") / ID
PATHS = VmPaths(
    disk=VM_FOLDER / "disk.qcow2",
    base=VM_FOLDER / "base.qcow2",
    base_format=DiskFormat.QCOW2,
    seed=VM_FOLDER / "seed.iso",
    nvram=VM_FOLDER / "nvram.fd",
    console_log=VM_FOLDER / "console.log",
    serial_socket=Path(f"/run/houyi/sockets/{ID}.serial"),
    vnc_socket=Path(f"/run/houyi/sockets/{ID}.vnc"),
)
NICS = (
    DesiredNic(network_id=NetworkId("aaaaaaaa-0000-4000-8000-000000000001"), mac="52:54:00:aa:00:01", address="10.80.0.2"),
    DesiredNic(network_id=NetworkId("bbbbbbbb-0000-4000-8000-000000000001"), mac="52:54:00:bb:00:01", address=""),
)
VM = DesiredVm(
    id=ID,
    project_id=ProjectId("99999999-2222-4333-8444-555555555555"),
    name="hello",
    epoch=3,
    generation=7,
    spec=VmSpec(image_id=ImageId("88888888-2222-4333-8444-555555555555"), vcpus=2, memory_mib=512, disk_gib=4),
    power=Power.RUNNING,
    nics=NICS[:1],
)
BASE = DomainContext(vm=VM, accelerator=Accelerator.QEMU, tcg_tb_size_mib=64, paths=PATHS)


NUMA = tuple(NumaNode(number=n, cpus=(2 * n, 2 * n + 1, 2 * n + 4, 2 * n + 5), memory_mib=4096) for n in range(2))
"""Two nodes of two cores with two threads each, numbered as Intel machines do."""


POOL = GuestCpu(model="EPYC", vendor="AMD", required=("pku", "x2apic"), disabled=("avx2", "vme"))
"""What the hosts of a pool have in common."""


def with_spec(**changed: object) -> DomainContext:
    return replace(BASE, vm=replace(VM, spec=replace(VM.spec, **changed)))  # type: ignore[arg-type]


CASES = {
    "tcg": BASE,
    "kvm": replace(BASE, accelerator=Accelerator.KVM),
    "kvm-named-cpu": replace(with_spec(cpu_model="Skylake-Server"), accelerator=Accelerator.KVM),
    "pool": replace(BASE, vm=replace(VM, cpu=POOL)),
    "pool-and-a-feature": replace(BASE, accelerator=Accelerator.KVM, vm=replace(with_spec(cpu_features=("avx2", "pku")).vm, cpu=POOL)),
    "pool-but-named-cpu": replace(BASE, vm=replace(with_spec(cpu_model="Nehalem").vm, cpu=POOL)),
    "kvm-and-a-feature": replace(with_spec(cpu_features=("avx2",)), accelerator=Accelerator.KVM),
    "tcg-and-a-feature": with_spec(cpu_features=("avx2",)),
    "uefi": with_spec(firmware=Firmware.UEFI),
    "no-video": with_spec(video=False),
    "raw-base": replace(BASE, paths=replace(PATHS, base=VM_FOLDER / "base.raw", base_format=DiskFormat.RAW)),
    "two-nics": replace(BASE, vm=replace(VM, nics=NICS)),
    "no-nic-many-cpus": replace(BASE, vm=replace(with_spec(vcpus=32).vm, nics=())),
    "one-numa-node": replace(BASE, vm=replace(VM, numa_nodes=(1,)), numa=NUMA),
    "two-numa-nodes": replace(BASE, vm=replace(VM, numa_nodes=(0, 1)), numa=NUMA),
    "watchdog-stops-and-errors-are-told": with_spec(on_trouble={Trouble.WATCHDOG: Remedy.STOP, Trouble.IO_ERROR: Remedy.REPORT}),
    "watchdog-does-nothing": with_spec(on_trouble={Trouble.WATCHDOG: Remedy.KEEP}),
    "pinned-machine": replace(BASE, machine="pc-q35-10.0"),
}


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(file=str(SCHEMA))


def pretty(ctx: DomainContext) -> str:
    element = domain_element(ctx)
    ET.indent(element)
    return ET.tostring(element, encoding="unicode") + "\n"


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    golden = FOLDER / f"{case}.xml"
    if os.environ.get("HOUYI_GOLDEN") == "write":
        golden.write_text(pretty(CASES[case]))
    assert pretty(CASES[case]) == golden.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.xml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_libvirts_schema_takes_it(case: str, schema: etree.RelaxNG) -> None:
    document = etree.fromstring(domain_xml(CASES[case]))
    assert schema.validate(document), schema.error_log


def test_every_configurator_adds_something() -> None:
    for configure in CONFIGURATORS:
        domain = ET.Element("domain")
        configure(BASE, domain)
        assert len(list(domain.iter())) > 1, configure.__module__


def test_what_must_never_be() -> None:
    for ctx in CASES.values():
        xml = domain_xml(ctx)
        for word in ("host-passthrough", "i440fx", "qemu:commandline", "<emulator", 'type="tcp"'):
            assert word not in xml


def test_mark_is_read_back_and_a_foreign_one_is_not() -> None:
    domain = domain_element(BASE)
    assert read_mark(domain) == Mark(vm_id=ID, epoch=3, generation=7)
    domain[1].text = "22222222-2222-4333-8444-555555555555"  # another domain that copied our metadata
    assert read_mark(domain) is None
    assert read_mark(ET.fromstring("<domain><uuid>x</uuid></domain>")) is None
    assert "https" not in metadata_xml(Mark(vm_id=ID, epoch=1, generation=1, started_at=5.0))


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)
"""Any Unicode text: markup, quotes, controls, right-to-left marks."""


@settings(max_examples=100, deadline=None)
@given(
    name=TEXT.filter(bool),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    user_data=TEXT,
    vcpus=st.integers(1, 255),
    memory_mib=st.integers(64, 1 << 20),
    firmware=st.sampled_from(Firmware),
    video=st.booleans(),
    accelerator=st.sampled_from(Accelerator),
    nics=st.integers(0, 8),
    epoch=st.integers(1, 1 << 40),
)
def test_hostile_input_makes_valid_xml_or_is_refused(
    schema: etree.RelaxNG,
    name: str,
    labels: dict[str, str],
    user_data: str,
    vcpus: int,
    memory_mib: int,
    firmware: Firmware,
    video: bool,
    accelerator: Accelerator,
    nics: int,
    epoch: int,
) -> None:
    spec = replace(VM.spec, vcpus=vcpus, memory_mib=memory_mib, firmware=firmware, video=video, labels=labels, user_data=user_data)
    cards = tuple(replace(NICS[0], mac=f"52:54:00:aa:00:{index:02x}") for index in range(nics))
    ctx = replace(BASE, vm=replace(VM, name=name, spec=spec, nics=cards, epoch=epoch), accelerator=accelerator)
    if any((ord(character) < 32 and character not in "\t\n\r") or character in "\ufffe\uffff" for character in name):
        with pytest.raises(Invalid, match="remove it"):
            domain_xml(ctx)
        return
    xml = domain_xml(ctx)
    document = etree.fromstring(xml)
    assert schema.validate(document), schema.error_log
    # XML itself turns a carriage return into a line break; we make line breaks blanks.
    assert (document.findtext("title") or "") == name.replace("\n", " ").replace("\r", " ")
    mark = read_mark(ET.fromstring(xml))
    assert mark is not None
    assert (mark.vm_id, mark.epoch) == (ID, epoch)


def test_nodes_that_the_host_does_not_have_bind_nothing() -> None:
    gone = replace(BASE, vm=replace(VM, numa_nodes=(7,)), numa=NUMA)
    assert domain_xml(gone) == domain_xml(BASE)
    assert domain_xml(replace(BASE, numa=NUMA)) == domain_xml(BASE), "a VM that was fitted to no node may use the whole host"
