"""The mutation of host reports: what a host said of itself last."""

from collections.abc import Mapping
from typing import Any

from houyi.model.errors import NotFound
from houyi.model.host_report import HostTraits
from houyi.model.ids import HostId
from houyi.store import tables
from houyi.store.docs import dump
from houyi.store.mutation import Act, Look, Mutation, Row, Rows


def put_host_report(host_id: HostId, traits: HostTraits, at: float) -> Mutation:
    """:param at: when it came; Unix seconds. :raise NotFound: `host_not_found`: the host was removed meanwhile."""
    values = {"doc": dump(traits), "at": at}
    row = Row(Act.PUT, tables.host_report, (host_id,), lambda _revision: values)
    return Mutation("host_report", host_id, None, Rows([row], [Look(tables.host, (host_id,), ("id",), _there)]), quiet=True)


def _there(row: Mapping[str, Any] | None) -> None:
    if row is None:
        raise NotFound("host_not_found", "the host was removed meanwhile: see `houyi host list`")
