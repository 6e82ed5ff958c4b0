"""The lab's network: a bridge in the middle, a cable (veth) to each host, and which pairs are cut.

    host h1: br0 - eth0 ~~~ h1 - br0 (the lab's own namespace: 10.93.0.1, where the server is; and 10.94.0.1, gateway of the VMs)

A cut drops frames silently in both directions, as a broken switch does: connections hang, nobody is told. All of it goes with the lab's
network namespace.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from houyi.host.shell import run
from houyi.local.lab.layout import BRIDGE, SERVER, SERVER_ADDRESS, VMS_CIDR, VMS_GATEWAY, HostRecord

SECONDS = 20.0
ALL = "*"
TABLE = {"family": "bridge", "table": "houyi_lab"}

Cut = frozenset[str]
"""Two names of hosts, or one and SERVER, or one and ALL."""


async def lay_bridge() -> None:
    """In our own network namespace, which is new."""
    prefix = VMS_CIDR.partition("/")[2]
    await _ip(
        (
            ("link", "add", BRIDGE, "address", mac(0), "type", "bridge", "forward_delay", "0"),
            ("addr", "add", f"{SERVER_ADDRESS}/24", "dev", BRIDGE),
            ("addr", "add", f"{VMS_GATEWAY}/{prefix}", "dev", BRIDGE),
            ("link", "set", BRIDGE, "up"),
        )
    )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


async def plug(host: HostRecord, pid: int) -> None:
    """A cable from the bridge to the host whose first process is `pid`. In the place of a machine the host has no address: the machine has."""
    await unplug(host)
    await _ip(
        (
            ("link", "add", host.name, "type", "veth", "peer", "name", "eth0", *(() if host.machine else ("address", mac(host.number))), "netns", str(pid)),
            ("link", "set", host.name, "master", BRIDGE, "up"),
        )
    )
    own = ("address", mac(host.number)) if not host.machine else ()
    commands: list[tuple[str, ...]] = [
        ("link", "add", BRIDGE, *own, "type", "bridge", "forward_delay", "0"),
        ("link", "set", "eth0", "master", BRIDGE, "up"),
        ("link", "set", BRIDGE, "up"),
    ]
    if not host.machine:
        commands += [("addr", "add", f"{host.address}/24", "dev", BRIDGE), ("route", "add", VMS_CIDR, "dev", BRIDGE)]
    await _ip(commands, pid)


async def add_taps(pid: int, cable: str, leash: str, address: str) -> None:
    """For a machine in the place of the host whose first process is `pid`: a card on the host's bridge, and one to the host alone, with `address` at its end."""
    await _ip(
        (
            ("tuntap", "add", cable, "mode", "tap"),
            ("link", "set", cable, "master", BRIDGE, "up"),
            ("tuntap", "add", leash, "mode", "tap"),
            ("addr", "add", address, "dev", leash),
            ("link", "set", leash, "up"),
        ),
        pid,
    )


async def unplug(host: HostRecord) -> None:
    """Pull the cable, if there is one: the kernel does so too, some time after the host's end."""
    await run(("ip", "link", "del", host.name), timeout=SECONDS, check=False)


async def set_cuts(cuts: Iterable[Cut]) -> None:
    """Have exactly these, in one transaction."""
    await run(("nft", "--json", "--file", "-"), timeout=SECONDS, input=json.dumps(ruleset(cuts)).encode())


def ruleset(cuts: Iterable[Cut]) -> dict[str, Any]:
    """In nft's JSON: our table anew, with one rule for each direction of each cut."""
    named = {"family": TABLE["family"], "name": TABLE["table"]}
    chains = [
        {"add": {"chain": {**TABLE, "name": hook, "type": "filter", "hook": hook, "prio": 0, "policy": "accept"}}} for hook in ("forward", "input", "output")
    ]
    rules = [
        {"add": {"rule": {**TABLE, "chain": chain, "expr": [*matches, {"drop": None}]}}} for cut in sorted(cuts, key=sorted) for chain, matches in _drops(cut)
    ]
    return {"nftables": [{"add": {"table": named}}, {"delete": {"table": named}}, {"add": {"table": named}}, *chains, *rules]}


def _drops(cut: Cut) -> list[tuple[str, list[dict[str, Any]]]]:
    """(chain, what it matches). The server is the bridge's own end: what comes to it is input, what it sends output."""
    hosts = sorted(cut - {SERVER, ALL})
    found: list[tuple[str, list[dict[str, Any]]]] = []
    if SERVER in cut or ALL in cut:
        found += [("input", [_is("iifname", hosts[0])]), ("output", [_is("oifname", hosts[0])])]
    if ALL in cut:
        found += [("forward", [_is("iifname", hosts[0])]), ("forward", [_is("oifname", hosts[0])])]
    if len(hosts) == 2:
        found += [("forward", [_is("iifname", one), _is("oifname", other)]) for one, other in (hosts, reversed(hosts))]
    return found


def _is(key: str, name: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": name}}


def mac(number: int) -> str:
    """Fixed, so that who has learnt one before a power cut finds the host again after it; 0: the bridge in the middle."""
    return f"02:00:0a:5d:00:{number:02x}"


async def _ip(commands: Iterable[tuple[str, ...]], pid: int = 0) -> None:
    """Run ip(8) commands in one go, in our network namespace or in that of process `pid`."""
    where = ("nsenter", f"--net=/proc/{pid}/ns/net", "--") if pid else ()
    lines = "".join(f"{' '.join(words)}\n" for words in commands)
    await run((*where, "ip", "-batch", "-"), timeout=SECONDS, input=lines.encode())
