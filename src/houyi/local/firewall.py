"""What libvirtd leaves in the firewall when it ends: its chains, empty once its networks are gone. They are removed if nothing is in them.

libvirt works through iptables (chains LIBVIRT_* in tables shared with others) or nftables (a table of its own), depending on how it was built.
"""

import re
from collections.abc import Sequence

from houyi.base.log import get_log
from houyi.host.shell import run
from houyi.model.errors import Failed

log = get_log(__name__)

_TABLES = ("filter", "nat", "mangle")
_SECONDS = 20.0
_CHAIN = re.compile(r"^-N (LIBVIRT_\w+)$", re.MULTILINE)
_RULE = re.compile(r"^-A (\S+)(?: .*)? -j (\S+)(?: .*)?$", re.MULTILINE)
_NFT_RULE = re.compile(r"^\t\t(?!type |policy |jump |}|$)\S", re.MULTILINE)


def removals(saved: str) -> tuple[tuple[str, ...], ...]:
    """Arguments of iptables that remove libvirt's chains from a table, in order; `saved` is what -S printed. Nothing if one of them is in use."""
    chains = _CHAIN.findall(saved)
    rules = _RULE.findall(saved)
    if any(chain in chains and target not in chains for chain, target in rules):
        return ()
    jumps = tuple(("-D", chain, "-j", target) for chain, target in rules if target in chains)
    return (*jumps, *(("-X", chain) for chain in chains))


def is_unused(listed: str) -> bool:
    """Whether a table, as nft lists it, holds nothing but chains and jumps between them."""
    return not _NFT_RULE.search(listed)


async def remove_libvirt_chains() -> None:
    """What cannot be removed is logged and left: an empty chain does nothing."""
    for tool in ("iptables", "ip6tables"):
        for table in _TABLES:
            for words in removals(await _ask([tool, "-w", "-t", table, "-S"])):
                await _ask([tool, "-w", "-t", table, *words])
    for family in ("ip", "ip6"):
        listed = await _ask(["nft", "list", "table", family, "libvirt_network"])
        if listed and is_unused(listed):
            await _ask(["nft", "delete", "table", family, "libvirt_network"])


async def _ask(argv: Sequence[str]) -> str:
    try:
        done = await run(argv, timeout=_SECONDS, check=False)
    except Failed as error:
        log.info("firewall_not_asked", argv=list(argv), detail=error.detail)
        return ""
    return done.text if done.code == 0 else ""
