"""What libvirt changes of the machine itself and never takes back, as it was before: forwarding of IPv4, and the firewall's tables that iptables makes.

`remember` writes it down before we start libvirtd, `restore` puts it back after we have ended it. Where others run libvirt, it is theirs. What has come
into use by others since then stays.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from houyi.base.log import get_log
from houyi.host.shell import run
from houyi.model.errors import Failed

log = get_log(__name__)

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_SECONDS = 20.0

Thing = Mapping[str, Any]
"""As `nft --json list ruleset` tells it: {"table": ...}, {"chain": ...}, {"rule": ...}."""


def _record(run_dir: Path) -> Path:
    """In run_dir: it is as short-lived as what it speaks of."""
    return run_dir / "before.json"


async def remember(run_dir: Path) -> None:
    """What is written down already stays: it is older."""
    if not _record(run_dir).exists():
        _record(run_dir).write_text(json.dumps({"forwarding": _forwarding(), "tables": sorted(tables(await _ruleset()))}))


async def restore(run_dir: Path) -> None:
    """Nothing where nothing was written down. What cannot be put back is logged and left: it does no harm."""
    try:
        record = json.loads(_record(run_dir).read_text())
    except FileNotFoundError:
        return
    before = {(family, name) for family, name in record["tables"]}
    for family, name in sorted(unused(await _ruleset()) - before):
        await _nft("delete", "table", family, name)
    if record["forwarding"] == "0" and _forwarding() == "1" and not forwards(await _ruleset()):
        try:
            FORWARDING.write_text("0\n")
        except OSError as error:
            log.info("forwarding_left", detail=error.strerror)
    _record(run_dir).unlink()


def tables(ruleset: Iterable[Thing]) -> set[tuple[str, str]]:
    """(family, name) of each."""
    return {(thing["table"]["family"], thing["table"]["name"]) for thing in ruleset if "table" in thing}


def unused(ruleset: Iterable[Thing]) -> set[tuple[str, str]]:
    """Tables that do nothing: all that they hold are chains of the kernel's hooks, without a rule, that accept."""
    things = list(ruleset)
    used = set()
    for thing in things:
        for kind, body in thing.items():
            if kind not in ("table", "metainfo") and not (kind == "chain" and body.get("policy") == "accept"):
                used.add((body["family"], body["table"]))
    return tables(things) - used


def forwards(ruleset: Iterable[Thing]) -> bool:
    """Whether somebody has rules for what is forwarded, and so relies on forwarding."""
    things = list(ruleset)
    hooks = [thing["chain"] for thing in things if "chain" in thing and thing["chain"].get("hook") == "forward"]
    rules = [thing["rule"] for thing in things if "rule" in thing]
    return any(
        hook.get("policy") != "accept" or any((rule["family"], rule["table"], rule["chain"]) == (hook["family"], hook["table"], hook["name"]) for rule in rules)
        for hook in hooks
    )


def _forwarding() -> str:
    try:
        return FORWARDING.read_text().strip()
    except OSError:
        return ""


async def _ruleset() -> list[Thing]:
    told = await _nft("--json", "list", "ruleset")
    return list(json.loads(told)["nftables"]) if told else []


async def _nft(*words: str) -> str:
    """'' where nft is missing or refuses."""
    try:
        done = await run(["nft", *words], timeout=_SECONDS, check=False)
    except Failed as error:
        log.info("firewall_not_asked", argv=["nft", *words], detail=error.detail)
        return ""
    return done.text if done.code == 0 else ""
