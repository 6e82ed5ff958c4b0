"""Names beside ids: what people read in answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from sqlalchemy import BindParameter, CompoundSelect, Connection, bindparam, select, union_all

from houyi.model.ids import ProjectId
from houyi.model.image import Image
from houyi.model.network import Network
from houyi.model.placement_group import PlacementGroup
from houyi.model.ssh_key import SshKey
from houyi.model.token import Token
from houyi.model.vm import Vm
from houyi.store import tables
from houyi.store.views.page import Page

T = TypeVar("T")
S = TypeVar("S")

_NAMED = (tables.project, tables.image, tables.network, tables.host, tables.placement_group, tables.pool)


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """Something, with the names of what it refers to, by id."""

    what: T
    names: dict[str, str]


@cache
def _query() -> CompoundSelect[tuple[str, str]]:
    wanted: BindParameter[list[str]] = bindparam("wanted", expanding=True)
    return union_all(*(select(table.c.id, table.c.name).where(table.c.id.in_(wanted)) for table in _NAMED))


def names_of(connection: Connection, ids: Iterable[str | None]) -> dict[str, str]:
    """Id to name of projects, images (deleted ones too), networks, hosts, placement groups and pools; those of them that exist."""
    wanted = sorted({one for one in ids if one})
    return {row.id: row.name for row in connection.execute(_query(), {"wanted": wanted})} if wanted else {}


def ids_in_vm(vm: Vm) -> tuple[str | None, ...]:
    spec = vm.desired.spec
    return (vm.desired.project_id, spec.image_id, vm.host_id, spec.placement_group_id, spec.pool_id, *(nic.network_id for nic in vm.desired.nics))


def project_of(owned: Image | Network | PlacementGroup | SshKey | Token) -> tuple[ProjectId | None]:
    return (owned.project_id,)


def with_names(connection: Connection, what: T, ids: Callable[[T], Iterable[str | None]]) -> Named[T]:
    return Named(what, names_of(connection, ids(what)))


def page_with_names(connection: Connection, page: Page[S], ids: Callable[[S], Iterable[str | None]]) -> Named[Page[S]]:
    return Named(page, names_of(connection, (one for item in page.items for one in ids(item))))
