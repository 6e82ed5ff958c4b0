"""The ring of what VMs did; nobody watches it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from houyi.model.errors import NotFound
from houyi.model.ids import HostId
from houyi.model.telemetry import PERIODS_KEPT, VmRates
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Act, Look, Mutation, Row, Rows


def put_rates(host_id: HostId, periods: Iterable[VmRates], period_seconds: float) -> Mutation:
    """Periods of VMs of a host, each at its place in its VM's ring. Two of one VM that end within one period share a place: the later stays.

    :raise NotFound: `vm_not_found`: one of the VMs was deleted meanwhile; nothing is written.
    """
    placed = {(one.vm_id, _slot(one, period_seconds)): one for one in sorted(periods, key=lambda one: one.ended_at)}
    looks = [Look(tables.vm, (vm_id,), ("id",), _there) for vm_id in sorted({vm_id for vm_id, _ in placed})]
    rows = [Row(Act.PUT, tables.telemetry, key, _values(host_id, one)) for key, one in placed.items()]
    return Mutation("telemetry", host_id, None, Rows(rows, looks), quiet=True)


def _slot(period: VmRates, period_seconds: float) -> int:
    return math.floor(period.ended_at / period_seconds + 0.5) % PERIODS_KEPT


def _values(host_id: HostId, period: VmRates) -> Any:
    values = {"host_id": host_id, "ended_at": period.ended_at, "doc": dump(period)}
    return lambda _revision: values


def _there(row: Mapping[str, Any] | None) -> None:
    if row is None:
        raise NotFound("vm_not_found", "the VM was deleted meanwhile")
