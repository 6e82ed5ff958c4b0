"""A host's word on what the CPUs of its pool have in common. What is about another pool, or cannot be libvirt's answer, is dropped."""

from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.cpu import is_sound, sound_features
from houyi.model.errors import Problem
from houyi.model.ids import HostId
from houyi.model.pool import PoolAnswer
from houyi.store.rows.pool import put_answer
from houyi.store.views.pool import answer_of, pool_of

log = get_log(__name__)

_DETAIL_MAX = 500


async def take_answer(control: Control, host_id: HostId, answer: PoolAnswer) -> None:
    """Write it down, if it is news of the pool that the host is in."""
    pool = await control.store.read(lambda c: pool_of(c, host_id))
    if pool is None or pool[0] != answer.pool_id or pool[1].ask is None or pool[1].ask.digest != answer.digest:
        return  # the question has changed: it is asked again
    baseline = answer.baseline
    if baseline is not None and not (is_sound(baseline.cpu) and sound_features(baseline.features) == baseline.features):
        log.warning("answer_unsound", host=host_id)
        return
    error = None if answer.error is None else Problem(answer.error.code[:40], answer.error.detail[:_DETAIL_MAX])
    kept = replace(answer, error=error)
    if await control.store.read(lambda c: answer_of(c, host_id)) != kept:
        await control.store.apply([put_answer(host_id, kept)])
        control.hints.poke("pools")
