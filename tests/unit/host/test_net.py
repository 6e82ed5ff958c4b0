"""Network XML against libvirt's schema, and which live changes lead from one set of reservations to another."""

import ipaddress
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from houyi.host.libvirt.networks import network_element
from houyi.host.net import bridge, leases, nat
from houyi.model.errors import Failed, Invalid
from houyi.model.ids import NetworkId
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec, Reservation

NAT = DesiredNetwork(
    id=NetworkId("aaaaaaaa-0000-4000-8000-000000000001"),
    name="default",
    spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24", dns=("192.0.2.53",)),
    reservations=(Reservation(mac="52:54:00:00:00:05", address="10.80.0.5", name="five"),),
)
LAN = replace(NAT, spec=NetworkSpec(kind=NetworkKind.BRIDGE, bridge="br0"), reservations=())


@pytest.mark.parametrize("network", [NAT, LAN])
def test_libvirts_schema_takes_it(network: DesiredNetwork) -> None:
    schema = etree.RelaxNG(file="/usr/share/libvirt/schemas/network.rng")
    document = etree.fromstring(ET.tostring(network_element(network, FOLDER)))
    assert schema.validate(document), schema.error_log


def test_names_that_the_kernel_takes() -> None:
    assert len(nat.bridge_name(NAT.id)) <= 15


@pytest.mark.parametrize("cidr", ["", "10.80.0.1/24", "10.80.0.0/40", "fd00::/64", "10.80.0.0/32", "x"])
def test_bad_cidr(cidr: str) -> None:
    with pytest.raises(Invalid) as caught:
        nat.network_element(replace(NAT, spec=replace(NAT.spec, cidr=cidr)), FOLDER)
    assert caught.value.code == "cidr_invalid"


def test_digest_follows_settings_and_not_reservations() -> None:
    def digest(network: DesiredNetwork) -> str | None:
        return network_element(network, FOLDER)[2][0].get("digest")

    assert digest(NAT) == digest(replace(NAT, reservations=()))
    assert digest(NAT) != digest(replace(NAT, spec=replace(NAT.spec, domain="other")))


FOLDER = Path("/var/lib/houyi/networks/n")
RESERVATIONS = st.lists(
    st.builds(
        Reservation,
        mac=st.integers(0, 5).map(lambda n: f"52:54:00:00:00:{n:02x}"),
        address=st.integers(2, 7).map(lambda n: str(ipaddress.IPv4Address("10.80.0.0") + n)),
        name=st.sampled_from(["", "a", "b", "c"]),
    ),
    unique_by=(lambda one: one.mac, lambda one: one.address),
)


@given(before=RESERVATIONS, after=RESERVATIONS)
def test_updates_lead_from_any_set_to_any_other_without_a_clash(before: list[Reservation], after: list[Reservation]) -> None:
    """Against libvirt's rules: what is removed must match exactly; what is added must share no MAC, address or name with what is there."""
    current = nat.network_element(replace(NAT, reservations=tuple(before)), FOLDER)
    names = set(nat.names(before))
    for update in nat.updates(current, after):
        host = ET.fromstring(update.xml)
        name = nat.Name(host.findtext("hostname", ""), host.attrib["ip"])
        if update.add:
            assert not any(name.name == other.name or name.address == other.address for other in names)
            names.add(name)
        else:
            names.remove(name)
    assert names == set(nat.names(after))


@given(before=RESERVATIONS, after=RESERVATIONS)
def test_the_folder_of_reservations_holds_exactly_what_is_wanted(before: list[Reservation], after: list[Reservation]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "networks" / NAT.id
        folder.parent.mkdir()
        leases.prepare(folder)
        leases.write(folder, nat.leases(before))
        untouched = {path.name: path.stat().st_ino for path in folder.iterdir()}
        leases.write(folder, nat.leases(after))
        found = {path.read_text().strip() for path in folder.iterdir()}
        assert found == {f"{one.mac},{one.address}" for one in after}
        kept = nat.leases(before) & nat.leases(after)
        assert all((folder / lease.mac.replace(":", "-")).stat().st_ino == untouched[lease.mac.replace(":", "-")] for lease in kept)
        assert [path.name for path in folder.parent.iterdir()] == [NAT.id]
        leases.remove(folder)
        assert not folder.exists()


def test_bridge_check_looks_and_cannot_be_led_astray(tmp_path: Path) -> None:
    (tmp_path / "br0/bridge").mkdir(parents=True)
    (tmp_path / "eth0").mkdir()
    bridge.check("br0", tmp_path)
    for name in ("eth0", "absent", "", ".", "..", "../x", "br0/../br0"):
        with pytest.raises(Failed, match="no bridge"):
            bridge.check(name, tmp_path)
