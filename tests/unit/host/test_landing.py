"""The domain of a guest that moves: its hardware as it is, its files and sockets as the destination has them."""

import xml.etree.ElementTree as ET

import pytest

from houyi.host.domxml.landing import landed, landed_xml
from houyi.host.domxml.metadata import read_mark
from houyi.model.errors import Failed

ID = "24c7cb5a-3ba6-40a7-a07f-db49d213b74d"


def domain(folder: str, *, epoch: int, title: str = "web", uuid: str = ID, live: bool = False, disks: tuple[str, ...] = ("vda", "vdb")) -> str:
    def only(text: str) -> str:
        return text if live else ""

    mark = f'<houyi:vm xmlns:houyi="https://houyi.dev/domain/1" id="{uuid}" epoch="{epoch}" generation="3" {only("started_at=" + repr("7.000"))}/>'
    chain = f'<backingStore type="file"><format type="qcow2"/><source file="{folder}/base.qcow2"/><backingStore/></backingStore>'
    machine = "pc-q35-10.0" if live else "q35"
    index, slot, feature = only('index="2"'), only('<address type="pci" bus="0x03" slot="0x00"/>'), only('<feature policy="require" name="arat"/>')
    disk = "".join(
        f'<disk type="file" device="disk"><driver name="qemu" type="qcow2" cache="none"/><source file="{folder}/{name}" {index}/>{chain}'
        f'<target dev="{name}" bus="virtio"/>{slot}</disk>'
        for name in disks
    )
    port = f'<source mode="bind" path="{folder}/serial"/><log file="{folder}/console.log" append="on"/><target type="isa-serial" port="0"/>'
    console, socket = only(f'<console type="unix">{port}</console>'), only(f'socket="{folder}/vnc"')
    listen = "" if live else f'<listen type="socket" socket="{folder}/vnc"/>'
    label = only('<seclabel type="dynamic" model="dac" relabel="yes"><label>+64055:+64055</label></seclabel>')  # as a libvirtd that was restarted writes it
    source = only('<source mode="bind" path="/run/libvirt/qemu/channel/1/x"/>')
    return (
        f'<domain type="qemu"><name>houyi-{uuid}</name><uuid>{uuid}</uuid><title>{title}</title><metadata>{mark}</metadata>'
        f'<os><type machine="{machine}">hvm</type><nvram>{folder}/nvram.fd</nvram></os><cpu>{feature}</cpu><devices>{disk}'
        f'<serial type="unix">{port}</serial>{console}'
        f'<channel type="unix">{source}<target type="virtio" name="org.qemu.guest_agent.0"/></channel>'
        f'<graphics type="vnc" {socket}>{listen}</graphics></devices>{label}</domain>'
    )


def test_the_hardware_stays_and_the_files_change() -> None:
    found = landed(ET.fromstring(domain("/here", epoch=1, live=True)), ET.fromstring(domain("/there", epoch=2, title="renamed")), started_at=7.0, arriving=True)
    text = ET.tostring(found, encoding="unicode")
    assert "/here" not in text
    assert "/run/libvirt" not in text
    assert "seclabel" not in text
    assert found.findtext("title") == "renamed"
    assert found.find("os/type").get("machine") == "pc-q35-10.0"  # type: ignore[union-attr]
    assert found.find("cpu/feature").get("name") == "arat"  # type: ignore[union-attr]
    assert [one.get("slot") for one in found.findall("devices/disk/address")] == ["0x00", "0x00"]
    assert [one.get("file") for one in found.findall("devices/disk/backingStore/source")] == ["/there/base.qcow2"] * 2
    assert [one.get("path") for one in (*found.findall("devices/serial/source"), *found.findall("devices/console/source"))] == ["/there/serial"] * 2
    assert [one.get("socket") for one in (*found.findall("devices/graphics"), *found.findall("devices/graphics/listen"))] == [None, "/there/vnc"]
    mark = read_mark(found)
    assert mark is not None
    assert (mark.epoch, mark.started_at, mark.arriving) == (2, 7.0, True)


def test_what_stays_of_it_there_neither_arrives_nor_runs() -> None:
    text = landed_xml(domain("/here", epoch=1, live=True), domain("/there", epoch=2), started_at=0.0, arriving=False)
    mark = read_mark(ET.fromstring(text))
    assert mark is not None
    assert (mark.epoch, mark.started_at, mark.arriving) == (2, 0.0, False)


def test_neither_tree_is_changed() -> None:
    running, there = domain("/here", epoch=1, live=True), domain("/there", epoch=2)
    trees = ET.fromstring(running), ET.fromstring(there)
    landed(*trees, started_at=1.0, arriving=True)
    assert [ET.tostring(tree) for tree in trees] == [ET.tostring(ET.fromstring(text)) for text in (running, there)]


@pytest.mark.parametrize("there", [domain("/there", epoch=2, uuid="11111111-1111-4111-8111-111111111111"), domain("/there", epoch=2, disks=("vda",))])
def test_what_does_not_fit_is_refused(there: str) -> None:
    with pytest.raises(Failed) as refused:
        landed_xml(domain("/here", epoch=1, live=True), there, started_at=0.0, arriving=True)
    assert refused.value.code == "landing_differs"


def test_where_it_runs_is_the_destination_s() -> None:
    pinned = '<vcpu cpuset="8-11">2</vcpu><cputune><vcpupin vcpu="0" cpuset="8"/></cputune><numatune><memory mode="strict" nodeset="1"/></numatune><os>'
    running = ET.fromstring(domain("/here", epoch=1, live=True).replace("<os>", pinned))
    free = landed(running, ET.fromstring(domain("/there", epoch=2).replace("<os>", "<vcpu>2</vcpu><os>")), started_at=0.0, arriving=True)
    assert [free.find("vcpu").attrib, free.find("cputune"), free.find("numatune")] == [{}, None, None]  # type: ignore[union-attr]
    there = pinned.replace("8-11", "0-1").replace('"8"', '"0"').replace('nodeset="1"', 'nodeset="0"')
    kept = landed(running, ET.fromstring(domain("/there", epoch=2).replace("<os>", there)), started_at=0.0, arriving=True)
    assert kept.find("vcpu").get("cpuset") == "0-1"  # type: ignore[union-attr]
    assert [one.get("cpuset") for one in kept.findall("cputune/vcpupin")] == ["0"]
    assert [one.get("nodeset") for one in kept.findall("numatune/memory")] == ["0"]
