"""Sizes, times and pairs as people write and read them. Pure but for nothing: the present moment is given."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE | re.ASCII)
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d)?", re.ASCII)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STEPS = ((86400.0 * 365, "y"), (86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))


def parse_bytes(text: str, bare: str = "") -> int:
    """'512MiB', '4G', '1.5GiB' as bytes. 'M' and 'MiB' are 2^20; 'MB', as disks are sold, is 10^6. Without a unit, `bare` ('m', 'g') is meant.

    :raise ValueError: with a sentence, for anything else, and for what is no whole number of bytes.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a size: write it like 512MiB or 4GiB")
    number, prefix, binary, unit = found.groups()
    prefix = prefix.lower()
    if binary and not prefix:
        raise ValueError(f"{text[:40]!r} is not a size: write it like 512MiB or 4GiB")
    if not prefix and not unit:
        prefix, binary = bare, "i"
    base = 1000 if unit and not binary and prefix else 1024
    whole, _, fraction = number.partition(".")
    scaled: int = int(whole + fraction) * base ** _POWER[prefix]
    parts: int = 10 ** len(fraction)
    size, rest = divmod(scaled, parts)
    if rest:
        raise ValueError(f"{text[:40]!r} is no whole number of bytes")
    return size


def parse_memory_mib(text: str) -> int:
    """Memory in MiB; a bare number is MiB. :raise ValueError: not whole MiB."""
    return _whole(text, parse_bytes(text, "m"), 1 << 20, "MiB")


def parse_disk_gib(text: str) -> int:
    """A disk in GiB; a bare number is GiB. :raise ValueError: not whole GiB."""
    return _whole(text, parse_bytes(text, "g"), 1 << 30, "GiB")


def _whole(text: str, size: int, unit: int, name: str) -> int:
    if size % unit or not size:
        raise ValueError(f"{text[:40]!r} is not a whole number of {name}: the next is {max(1, -(-size // unit))}{name}")
    return size // unit


def parse_seconds(text: str) -> float:
    """'90', '90s', '5m', '2h', '7d' as seconds. :raise ValueError: anything else."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a time: write it like 90s, 5m, 2h or 7d")
    seconds = float(found.group(1)) * _SECONDS[found.group(2) or "s"]
    if not math.isfinite(seconds):
        raise ValueError(f"{text[:40]!r} is too long a time")
    return seconds


def parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    """['k=v', ...] as a mapping; the last of a key wins. :raise ValueError: without '=' or without a key."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"{text[:80]!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


def parse_nic(text: str) -> dict[str, str]:
    """'default' or 'default,address=10.80.0.9' as the API's NIC. :raise ValueError: anything else."""
    network, *options = text.split(",")
    given = parse_pairs(options)
    if not network or "=" in network or set(given) - {"address"}:
        raise ValueError(f"{text[:80]!r} is not NETWORK or NETWORK,address=A.B.C.D")
    return {"network": network, **given}


def show_bytes(size: float) -> str:
    """'512 MiB', '1.5 GiB': three digits at most, binary units."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1023.5 or unit == "TiB":
            break
        size /= 1024
    digits = f"{size:.0f}" if size >= 99.95 else f"{size:.1f}".removesuffix(".0")
    return f"{digits} {unit}"


def show_mib(mib: int) -> str:
    return show_bytes(mib * 2**20)


def show_gib(gib: int) -> str:
    return show_bytes(gib * 2**30)


def moment(text: str) -> float:
    """Unix seconds of the API's RFC 3339 times. :raise ValueError: it is none."""
    return datetime.fromisoformat(text).timestamp()


def show_size(vcpus: int, memory_mib: int, disk_gib: int) -> str:
    return f"{vcpus} vCPU{'' if vcpus == 1 else 's'}, {show_mib(memory_mib)} memory, {show_gib(disk_gib)} disk"


def show_age(at: str | None, now: float) -> str:
    """'5s', '3m', '2h', '12d': how long ago; '-' for never. What lies ahead (clocks differ) is '0s'."""
    return show_seconds(max(0.0, now - moment(at))) if at else "-"


def show_left(until: str | None, now: float) -> str:
    """How long until then; 'never' for what has no end, 'over' for what is past."""
    if not until:
        return "never"
    left = moment(until) - now
    return show_seconds(left) if left > 0 else "over"


def show_seconds(seconds: float) -> str:
    """One unit up to ten of it, so that it is short and still true: '119s' is '119s', '130s' is '2m'."""
    for size, unit in _STEPS:
        if seconds >= 2 * size or unit == "s":
            return f"{int(seconds // size)}{unit}"
    return "0s"


def show_pairs(pairs: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(pairs.items())) or "-"
