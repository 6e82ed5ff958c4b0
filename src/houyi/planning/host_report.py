"""From what was found on a host to items that say what it means and what to do: the most useful advice first, then what is well, then what is not known."""

from collections.abc import Callable, Iterable
from itertools import chain

from houyi.model.host_report import HostTraits, Item
from houyi.planning.host_rules import devices, kernel, memory, power, virtualization

Rule = Callable[[HostTraits], Iterable[Item]]

RULES: tuple[Rule, ...] = (*virtualization.RULES, *memory.RULES, *power.RULES, *devices.RULES, *kernel.RULES)


def items(traits: HostTraits) -> tuple[Item, ...]:
    """All that there is to say; equal weights stay in the order of RULES."""
    found = chain.from_iterable(rule(traits) for rule in RULES)
    return tuple(sorted(found, key=lambda item: (-item.weight, not item.advice, item.value.startswith("unknown"))))


def advice(traits: HostTraits) -> tuple[Item, ...]:
    """Only those with something to do, the most useful first."""
    return tuple(item for item in items(traits) if item.advice)
