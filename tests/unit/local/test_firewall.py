"""libvirt's empty chains go; chains with rules of a network, and everybody else's, stay."""

import pytest

from houyi.local.firewall import is_unused, removals

EMPTY = """\
-P INPUT ACCEPT
-P FORWARD ACCEPT
-N LIBVIRT_FWI
-N LIBVIRT_INP
-N MINE
-A INPUT -j LIBVIRT_INP
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j LIBVIRT_FWI
-A MINE -j DROP
"""


def test_empty_chains_are_removed_after_the_jumps_to_them() -> None:
    assert removals(EMPTY) == (("-D", "INPUT", "-j", "LIBVIRT_INP"), ("-D", "FORWARD", "-j", "LIBVIRT_FWI"), ("-X", "LIBVIRT_FWI"), ("-X", "LIBVIRT_INP"))


@pytest.mark.parametrize("rule", ["-A LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT", "-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp"])
def test_chains_in_use_stay(rule: str) -> None:
    assert removals(f"{EMPTY}{rule}\n") == ()


def test_nothing_of_libvirt() -> None:
    assert removals("-P INPUT DROP\n-N MINE\n-A INPUT -j MINE\n") == ()
    assert removals("") == ()


TABLE = """\
table ip libvirt_network {
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tjump guest_cross
\t}

\tchain guest_cross {
\t}
}
"""


def test_nft_tables() -> None:
    assert is_unused(TABLE)
    assert not is_unused(TABLE.replace("\tchain guest_cross {\n", '\tchain guest_cross {\n\t\tiifname "virbr0" accept\n'))
