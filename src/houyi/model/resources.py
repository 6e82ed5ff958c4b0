"""Resource classes: what hosts have and VMs claim. Names are open, so a new device kind needs no new table."""

from collections.abc import Mapping
from types import MappingProxyType

VCPU = "vcpu"
MEMORY_MIB = "memory_mib"
DISK_GIB = "disk_gib"

Amounts = Mapping[str, int]
"""Resource class -> whole units of it."""

NOTHING: Amounts = MappingProxyType({})


def add(a: Amounts, b: Amounts) -> dict[str, int]:
    """The class-wise sum."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in sorted({*a, *b})}


def missing(asked: Amounts, left: Amounts) -> dict[str, int]:
    """What `left` lacks of `asked`: class -> units short (> 0); empty when it fits."""
    return {name: amount - left.get(name, 0) for name, amount in asked.items() if amount > left.get(name, 0)}


def in_words(amounts: Amounts) -> str:
    """For messages to people: 'vcpu 2, memory_mib 512'; 'nothing' when empty."""
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items()) or "nothing"
