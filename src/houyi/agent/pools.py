"""Answers what the server asks on behalf of this host's pool: what the CPUs of its hosts have in common, as this host's libvirt sees it."""

from houyi.agent.ledger import Ledger
from houyi.agent.reports import Reports
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.host.port import Probe
from houyi.model.errors import HouyiError, Problem, Unavailable
from houyi.model.pool import PoolAnswer, PoolAsk

log = get_log(__name__)

TURN_SECONDS = 1.0
"""How often it is looked whether the question is another: new VMs of a pool wait for nothing, they get the CPU before it."""


class Pools:
    def __init__(self, probe: Probe, ledger: Ledger, reports: Reports, clock: Clock) -> None:
        self._probe = probe
        self._ledger = ledger
        self._reports = reports
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Unavailable as away:
                log.info("pool_answer_later", code=away.code)
            except Exception:
                log.exception("pool_answer_failed")
            await self._clock.sleep(TURN_SECONDS)

    async def turn(self) -> None:
        """Answer, if there is a question without an answer. :raise Unavailable: libvirt is away: later."""
        ask = None if self._ledger.desired is None else self._ledger.desired.pool
        answered = self._reports.pool
        if ask is not None and (answered is None or (answered.pool_id, answered.digest) != (ask.pool_id, ask.digest)):
            self._reports.put_pool(await self._answer(ask))

    async def _answer(self, ask: PoolAsk) -> PoolAnswer:
        try:
            baseline = await self._probe.baseline(ask.cpus)
        except Unavailable:
            raise
        except HouyiError as refused:
            return PoolAnswer(pool_id=ask.pool_id, digest=ask.digest, baseline=None, error=Problem(refused.code, refused.detail))
        return PoolAnswer(pool_id=ask.pool_id, digest=ask.digest, baseline=baseline)
