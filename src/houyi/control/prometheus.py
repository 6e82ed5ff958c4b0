"""History from a Prometheus that scrapes the agents, where one is configured: its readings of a VM's counters, as they were scraped."""

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.errors import Unavailable
from houyi.model.ids import HostId, VmId
from houyi.model.names import is_id
from houyi.model.telemetry import VmRates
from houyi.planning.telemetry import rates
from houyi.planning.vm_metrics import Series, readings

log = get_log(__name__)

RAW_SECONDS = 7200.0
"""For longer than that, readings are taken at steps."""
STEPS = 720
STEP_SECONDS_MIN = 60.0
ANSWER_SECONDS = 15.0
ANSWER_BYTES_MAX = 64 << 20


class _Result(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Data(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    status: str
    data: _Data


async def history_of(control: Control, vm_id: VmId, since: float) -> list[tuple[HostId, VmRates]]:
    """Periods of a VM from `since` (Unix seconds) until now, oldest first, with the host that counted them.

    :raise Unavailable: `prometheus_unreachable`: it does not answer, or not as a Prometheus does.
    """
    now = control.clock.now()
    found: list[tuple[HostId, VmRates]] = []
    for host, known in readings(vm_id, await _asked(control.settings.server.prometheus_url, vm_id, since, now)).items():
        if not is_id(host):
            continue  # scraped from something else that has such names
        before = None
        for reading in known:
            if before is None or (period := rates(before, reading)) is None:
                before = reading if reading.whole else before
                continue
            found.append((HostId(host), period))
            before = reading
    return sorted(found, key=lambda one: one[1].ended_at)


async def _asked(url: str, vm_id: VmId, since: float, now: float) -> list[Series]:
    selector = f'{{__name__=~"houyi_vm_.+",vm="{vm_id}"}}'
    seconds = max(1.0, now - since)
    if seconds <= RAW_SECONDS:
        where, params = "query", {"query": f"{selector}[{int(seconds)}s]", "time": f"{now:.3f}"}
    else:
        step = max(STEP_SECONDS_MIN, seconds / STEPS)
        where, params = "query_range", {"query": selector, "start": f"{since:.3f}", "end": f"{now:.3f}", "step": f"{step:.0f}"}
    answer = await _get(f"{url.rstrip('/')}/api/v1/{where}", params)
    return [Series(one.metric, [(at, float(value)) for at, value in one.values]) for one in answer.data.result]


async def _get(url: str, params: Mapping[str, Any]) -> _Answer:
    try:
        async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            answer = await client.get(url, params=dict(params))
            answer.raise_for_status()
            if len(answer.content) > ANSWER_BYTES_MAX:
                raise Unavailable("prometheus_unreachable", "the Prometheus of server.prometheus_url answered with too much: ask for less history")
            return msgspec.json.decode(answer.content, type=_Answer)
    except (httpx2.HTTPError, msgspec.DecodeError, ValueError) as error:
        log.warning("prometheus_unreachable", url=url, error=str(error))
        raise Unavailable("prometheus_unreachable", "the Prometheus of server.prometheus_url does not answer as one: look at the server's log") from error
