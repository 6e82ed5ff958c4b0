"""A host's word on the way to another. What is about something that it is not asked now is dropped."""

from dataclasses import replace

from houyi.control.control import Control
from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.line import LineAnswer
from houyi.store.rows.line import put_answer
from houyi.store.views.line import list_lines

_DETAIL_MAX = 500
_ADDRESS_MAX = 64
_MIB_S_MAX = 1e6
"""More no line carries."""


async def take_lines(control: Control, host_id: HostId, answers: tuple[LineAnswer, ...]) -> None:
    """Write down what is news."""
    asked = {one.id: one for one in await control.store.read(lambda c: list_lines(c, host_id))}
    for answer in answers:
        one = asked.get(answer.id)
        if one is None or len(answer.address) > _ADDRESS_MAX or not 0 <= answer.port < 1 << 16:
            continue
        rates = answer.rates if one.source == host_id else None
        if rates is not None and not (0 < rates.one_mib_s <= _MIB_S_MAX and 0 < rates.all_mib_s <= _MIB_S_MAX):
            rates = None
        error = None if answer.error is None else Problem(answer.error.code[:40], answer.error.detail[:_DETAIL_MAX])
        before = one.answers.get(host_id)
        kept = replace(answer, rates=rates, error=error)
        if error is not None and before is not None:
            kept = replace(kept, rates=before.rates)  # what was measured once is better than nothing
        if kept != before:
            await control.store.apply([put_answer(one, host_id, kept)])
            control.hints.poke("lines")
