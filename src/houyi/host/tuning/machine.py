"""The Tuner port over this machine's levers."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from houyi.host.port_tuning import Before
from houyi.host.tuning.lever import Lever
from houyi.model.errors import Failed, Invalid
from houyi.planning.tuning.knobs import BY_NAME, allows, values_in_words

T = TypeVar("T")


class MachineTuner:
    """`levers` by the name of their knob."""

    def __init__(self, levers: Mapping[str, Lever]) -> None:
        self._levers = levers

    async def read(self) -> Mapping[str, str]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, str]:
        found = {}
        for name, lever in self._levers.items():
            try:
                value = lever.read()
            except (OSError, ValueError):
                continue  # a file that cannot be read is none that could be set
            if value is not None:
                found[name] = value
        return found

    async def before(self, knob: str) -> Before:
        lever = self._lever(knob)
        return await _try(knob, lever.before)

    async def set(self, knob: str, value: str) -> None:
        lever = self._lever(knob)
        if not allows(BY_NAME[knob], value):
            raise Invalid("knob_value_invalid", f"knob {knob} cannot be {value[:64]!r}: it is one of {values_in_words(BY_NAME[knob])}")
        await _try(knob, lambda: lever.set(value))

    async def restore(self, knob: str, before: Before) -> None:
        lever = self._levers.get(knob)
        if lever is not None:
            await _try(knob, lambda: lever.restore(before))

    def _lever(self, knob: str) -> Lever:
        lever = self._levers.get(knob)
        if lever is None:
            raise Failed("knob_missing", f"this machine has no {knob[:64]}")
        return lever


async def _try(knob: str, act: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(act)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failed("tuning_failed", f"{knob} cannot be set on this machine ({why}): the kernel may be locked down, or the hardware lack it") from error
