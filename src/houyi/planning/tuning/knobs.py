"""Every knob there is, in one tuple, and what may be asked of them."""

from collections.abc import Mapping

from houyi.model.errors import Invalid, NotFound
from houyi.model.tuning import Choice, Knob, Need, Numbers, Scope, Settings
from houyi.planning.tuning.cpu import CPU
from houyi.planning.tuning.idle import IDLE
from houyi.planning.tuning.interrupts import INTERRUPTS
from houyi.planning.tuning.io import IO
from houyi.planning.tuning.memory import MEMORY
from houyi.planning.tuning.net import NET
from houyi.planning.tuning.power import POWER
from houyi.planning.tuning.timers import TIMERS

KNOBS: tuple[Knob, ...] = (*TIMERS, *INTERRUPTS, *IDLE, *MEMORY, *CPU, *IO, *NET, *POWER)

BY_NAME: Mapping[str, Knob] = {knob.name: knob for knob in KNOBS}


def knob_named(name: str) -> Knob:
    """:raise NotFound: `knob_not_found`."""
    found = BY_NAME.get(name)
    if found is None:
        raise NotFound("knob_not_found", f"there is no knob {name[:64]!r}: see `houyi tune list`")
    return found


def allows(knob: Knob, value: str) -> bool:
    """Whether `value` is one of its choices, or one of its numbers in the one way to write it."""
    return _spec(knob, value) is not None


def needs(knob: Knob, value: str) -> tuple[Need, ...]:
    """What a host must have for this value."""
    spec = _spec(knob, value)
    return () if spec is None else spec.needs


def _spec(knob: Knob, value: str) -> Choice | Numbers | None:
    for choice in knob.choices:
        if choice.value == value:
            return choice
    numbers = knob.numbers
    if numbers is not None and value.isascii() and value.isdecimal() and len(value) <= 12 and value == str(int(value)):
        return numbers if numbers.least <= int(value) <= numbers.most else None
    return None


def values_in_words(knob: Knob) -> str:
    """'auto, or 0 to 1000000 ns'."""
    listed = ", ".join(choice.value for choice in knob.choices)
    if knob.numbers is None:
        return listed
    numbers = f"{knob.numbers.least} to {knob.numbers.most} {knob.numbers.unit}"
    return f"{listed}, or {numbers}" if listed else numbers


def clash(settings: Settings, knob: Knob, value: str) -> tuple[str, str] | None:
    """One of these settings that cannot go with this one, whichever of both says so; None: they all can. Defaults give way, so they are not asked."""
    spec = _spec(knob, value)
    mine = {} if spec is None else spec.excludes
    for other, has in settings.items():
        if other == knob.name:
            continue
        theirs = _spec(BY_NAME[other], has)
        if has in mine.get(other, ()) or (theirs is not None and value in theirs.excludes.get(knob.name, ())):
            return other, has
    return None


def check_settings(settings: Settings, scope: Scope) -> None:
    """As a person asks for them, whatever the host. :raise Invalid: `knob_unknown`, `knob_scope`, `knob_value_invalid`, `knobs_exclude`."""
    for name, value in settings.items():
        knob = BY_NAME.get(name)
        if knob is None:
            raise Invalid("knob_unknown", f"there is no knob {name[:64]!r}: see `houyi tune list`")
        if knob.scope is not scope:
            where = "`houyi host set HOST --knob`" if knob.scope is Scope.HOST else "`houyi vm update VM --knob`"
            raise Invalid("knob_scope", f"knob {name} is one of a {knob.scope.value}: set it by {where}")
        if not allows(knob, value):
            raise Invalid("knob_value_invalid", f"knob {name} cannot be {value[:64]!r}: it is one of {values_in_words(knob)}")
    for name, value in settings.items():
        found = clash(settings, BY_NAME[name], value)
        if found is not None:
            raise Invalid("knobs_exclude", f"{name}={value} does not go with {found[0]}={found[1]}: take one of them out")
