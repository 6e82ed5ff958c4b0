"""CPUs as guests get them: a named model, and what is added to it or taken from it. libvirt says what a host offers and computes what several have in common."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FEATURES_MAX = 1024
"""Of one CPU; libvirt knows about 300 for x86-64. Hosts are believed about theirs, not trusted with the size of our records."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCpu:
    """What a domain's <cpu> says."""

    model: str
    """A libvirt model name."""
    vendor: str = ""
    """'AMD', 'Intel' ...; '': not said."""
    required: tuple[str, ...] = ()
    """Features beyond the model's."""
    disabled: tuple[str, ...] = ()
    """Features of the model that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuBaseline:
    """What several hosts have in common."""

    cpu: GuestCpu
    features: tuple[str, ...]
    """All that a guest with it has, the model's own among them; sorted."""


def are_words(names: Iterable[str]) -> bool:
    """Whether each can be the name of a model or a feature."""
    return all(_WORD.fullmatch(name) for name in names)


def sound_features(features: tuple[str, ...]) -> tuple[str, ...]:
    """What a host says of features, in order; nothing if it cannot be that."""
    return tuple(sorted(set(features))) if len(features) <= FEATURES_MAX and are_words(features) else ()


def is_sound(cpu: GuestCpu) -> bool:
    """Whether it can be what libvirt said."""
    names = (*cpu.required, *cpu.disabled)
    return len(names) <= FEATURES_MAX and are_words((cpu.model, *names, *((cpu.vendor,) if cpu.vendor else ())))
