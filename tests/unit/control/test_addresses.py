"""IPv4 addresses: whatever the network and whatever is taken, a free one is found if there is one, and it may be asked for as well."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.base.ids import SeededIds
from houyi.control.addresses import check_address, free_address, gateway_of, new_mac, parse_network
from houyi.model.errors import Conflict, Invalid
from houyi.model.network import Network
from made import a_network

CIDRS = st.builds(lambda number, prefix: str(IPv4Network((number, prefix), strict=False)), st.integers(0, 2**32 - 1), st.integers(24, 30))


def network(cidr: str, gateway: str = "") -> Network:
    made = a_network(cidr=cidr)
    return replace(made, spec=replace(made.spec, gateway=gateway))


@given(CIDRS, st.data(), st.floats(0.0, 1.0))
def test_a_free_address_is_found_and_is_good(cidr: str, data: st.DataObject, start_at: float) -> None:
    hosts = [str(one) for one in IPv4Network(cidr).hosts()]
    net = network(cidr, data.draw(st.sampled_from(["", *hosts])))
    gateway = str(gateway_of(net))
    taken = data.draw(st.sets(st.sampled_from(hosts)))
    free = set(hosts) - taken - {gateway}
    if not free:
        with pytest.raises(Conflict):
            free_address(net, taken, start_at)
        return
    found = free_address(net, taken, start_at)
    assert found in free
    check_address(found, net)


@given(CIDRS, st.ip_addresses(v=4))
def test_what_may_be_asked_for(cidr: str, address: IPv4Address) -> None:
    net = network(cidr)
    good = {str(one) for one in IPv4Network(cidr).hosts()} - {str(gateway_of(net))}
    if str(address) in good:
        check_address(str(address), net)
    else:
        with pytest.raises(Invalid):
            check_address(str(address), net)


@given(st.text(max_size=30))
def test_any_text_is_a_network_or_refused(text: str) -> None:
    try:
        found = parse_network(text)
    except Invalid as refused:
        assert refused.code == "cidr_invalid"  # noqa: PT017
    else:
        assert str(found) == text, "canonical, so that equal networks have equal texts"


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "192.168.7.4/30"])
def test_networks(cidr: str) -> None:
    assert str(parse_network(cidr)) == cidr


def test_an_unmanaged_network_gives_no_address() -> None:
    assert free_address(network(""), set()) == ""
    assert gateway_of(network("")) is None


def test_macs() -> None:
    ids = SeededIds(7)
    macs = {new_mac(ids) for _ in range(200)}
    assert len(macs) == 200
    assert all(mac.startswith("52:54:00:") and len(mac) == 17 for mac in macs)
