"""The agent answers its pool once a question, and again when libvirt was away; the answer is told when it is new, and with everything."""

from pathlib import Path

import pytest

from houyi.agent.ledger import Ledger
from houyi.agent.pools import Pools
from houyi.agent.reports import Reports
from houyi.host.sim import SimHost, sim_facts
from houyi.model.cpu import GuestCpu
from houyi.model.errors import Failed, Unavailable
from houyi.model.ids import PoolId
from houyi.model.pool import PoolAsk
from houyi.wire.agents import Desired
from sim.virtual import VirtualClock

NEW, OLD = GuestCpu(model="M", required=("aes", "avx")), GuestCpu(model="M", required=("aes",))


class Asked:
    def __init__(self, folder: Path) -> None:
        self.sim = SimHost(VirtualClock())
        self.sim.facts = sim_facts(features=NEW.required)
        self.ledger, self.reports = Ledger(folder), Reports()
        self.pools = Pools(self.sim.ports().probe, self.ledger, self.reports, VirtualClock())

    def ask(self, digest: str, *cpus: GuestCpu) -> None:
        question = PoolAsk(pool_id=PoolId("new"), digest=digest, cpus=cpus) if cpus else None
        self.ledger.keep_desired(Desired(revision=1, vms=(), networks=(), images=(), pool=question))

    @property
    def asked(self) -> int:
        """How often libvirt was."""
        return [call for call, _ in self.sim.calls].count("baseline")


@pytest.fixture
def host(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


async def test_a_question_is_answered_once(host: Asked) -> None:
    await host.pools.turn()
    host.ask("1")
    await host.pools.turn()
    assert host.asked == 0
    host.ask("2", NEW, OLD)
    for _ in range(3):
        await host.pools.turn()
    assert host.asked == 1
    answer = host.reports.pool
    assert answer is not None
    assert (answer.digest, answer.baseline and answer.baseline.features, answer.error) == ("2", ("aes",), None)
    host.ask("3", NEW)
    await host.pools.turn()
    assert host.reports.pool is not None
    assert host.reports.pool.digest == "3"


async def test_a_refusal_is_an_answer(host: Asked) -> None:
    host.ask("1", NEW)
    host.sim.fail_next("baseline", Failed("libvirt_failed", "CPU vendors do not match"))
    await host.pools.turn()
    assert host.reports.pool is not None
    assert (host.reports.pool.baseline, host.reports.pool.error and host.reports.pool.error.detail) == (None, "CPU vendors do not match")


async def test_while_libvirt_is_away_there_is_none(host: Asked) -> None:
    host.ask("1", NEW)
    host.sim.lose_libvirt()
    with pytest.raises(Unavailable):
        await host.pools.turn()
    assert host.reports.pool is None
    host.sim.restore_libvirt()
    await host.pools.turn()
    assert host.reports.pool is not None


async def test_it_is_told_when_it_is_new_and_with_everything(host: Asked) -> None:
    reports = host.reports
    assert reports.take_pool(everything=True) is None
    host.ask("1", NEW)
    await host.pools.turn()
    assert reports.news.is_set()
    answer = reports.pool
    assert answer is not None
    assert [reports.take_pool(everything=everything) for everything in (False, False, True, False)] == [answer, None, answer, None]
