"""Reads of hosts, and of everything that a host is to have."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Row, Select, func, select

from houyi.model.errors import NotFound
from houyi.model.experiment import DesiredTrial
from houyi.model.host import Host, HostFacts, HostLoad
from houyi.model.ids import HostId, ImageId, NetworkId, OperationId, PoolId
from houyi.model.image import DesiredImage, ImageSpec, ImageState, ImageStatus
from houyi.model.line import LineAsk
from houyi.model.migration import DesiredMove
from houyi.model.names import is_id
from houyi.model.network import DesiredNetwork, NetworkSpec, Reservation
from houyi.model.pool import PoolAsk
from houyi.model.tuning import HostTuned, TuningAsk
from houyi.model.vm import DesiredVm
from houyi.planning.pool import cpu_on
from houyi.planning.tuning.resolve import in_force, vm_settings
from houyi.store import tables
from houyi.store.docs import load
from houyi.store.store import newest_revision
from houyi.store.views.experiment import trials_of
from houyi.store.views.line import asks_of
from houyi.store.views.migration import landing_vms, moves_of
from houyi.store.views.page import Ask, Page, cut, paged
from houyi.store.views.pool import pool_of


def _query() -> Select[tuple[object, ...]]:
    seen, member, pool = tables.host_observed, tables.pool_host, tables.pool
    what = (
        tables.host,
        seen.c.facts,
        seen.c.load,
        seen.c.tuned,
        seen.c.capacity,
        seen.c.connected,
        seen.c.last_seen_at,
        pool.c.id.label("pool_id"),
        pool.c.name.label("pool_name"),
    )
    joined = select(*what).outerjoin(seen, seen.c.host_id == tables.host.c.id)
    return joined.outerjoin(member, member.c.host_id == tables.host.c.id).outerjoin(pool, pool.c.id == member.c.pool_id)


def _claimed(connection: Connection, host_ids: list[str]) -> Mapping[str, dict[str, int]]:
    claim, amount = tables.claim, tables.claim_amount
    query = (
        select(claim.c.host_id, amount.c.resource, func.sum(amount.c.amount))
        .join(amount, amount.c.claim_id == claim.c.id)
        .where(claim.c.host_id.in_(host_ids))
        .group_by(claim.c.host_id, amount.c.resource)
    )
    claimed: dict[str, dict[str, int]] = {}
    for host_id, resource, total in connection.execute(query):
        claimed.setdefault(host_id, {})[resource] = int(total)
    return claimed


def _hosts(connection: Connection, rows: list[Row[tuple[object, ...]]]) -> list[Host]:
    claimed = _claimed(connection, [row.id for row in rows])
    return [
        Host(
            id=HostId(row.id),
            name=row.name,
            labels=load(row.labels, dict[str, str]),
            cordoned=row.cordoned,
            drain_id=OperationId(row.drain_id) if row.drain_id else None,
            pool_id=PoolId(row.pool_id) if row.pool_id else None,
            pool_name=row.pool_name or "",
            tuning=load(row.tuning, TuningAsk),
            tuned=load(row.tuned, HostTuned) if row.tuned else None,
            facts=load(row.facts, HostFacts) if row.facts else None,
            load=load(row.load, HostLoad) if row.load else None,
            capacity=load(row.capacity, dict[str, int]) if row.capacity else {},
            claimed=claimed.get(row.id, {}),
            last_seen_at=row.last_seen_at or 0.0,
            connected=bool(row.connected),
            created_at=row.created_at,
            revision=row.revision,
        )
        for row in rows
    ]


def get_host(connection: Connection, reference: str) -> Host:
    """:raise NotFound: `host_not_found`."""
    table = tables.host
    row = connection.execute(_query().where((table.c.id if is_id(reference) else table.c.name) == reference)).first()
    if row is None:
        raise NotFound("host_not_found", f"there is no host {reference!r}: see `houyi host list`")
    return _hosts(connection, [row])[0]


def draining_hosts(connection: Connection) -> list[Host]:
    """Those that are to have no VMs, whether they have any or not."""
    return _hosts(connection, list(connection.execute(_query().where(tables.host.c.drain_id.is_not(None)).order_by(tables.host.c.created_at))))


def list_hosts(connection: Connection, ask: Ask) -> Page[Host]:
    rows = list(connection.execute(paged(_query(), tables.host, ask)))
    return cut([(host.created_at, host.id, host) for host in _hosts(connection, rows)], newest_revision(connection), ask)


@dataclass(frozen=True, slots=True)
class ReportsOf:
    """What intake must know of a host before it believes a report."""

    instance: str
    serial: int
    last_seen_at: float
    connected: bool


def reports_of(connection: Connection, host_id: HostId) -> ReportsOf | None:
    seen = tables.host_observed
    row = connection.execute(select(seen.c.instance, seen.c.serial, seen.c.last_seen_at, seen.c.connected).where(seen.c.host_id == host_id)).first()
    return None if row is None else ReportsOf(row.instance, row.serial, row.last_seen_at, row.connected)


@dataclass(frozen=True, slots=True)
class DesiredOfHost:
    """Everything that belongs to a host, at one revision."""

    revision: int
    vms: tuple[DesiredVm, ...]
    networks: tuple[DesiredNetwork, ...]
    images: tuple[DesiredImage, ...]
    moves: tuple[DesiredMove, ...]
    pool: PoolAsk | None = None
    trials: tuple[DesiredTrial, ...] = ()
    tuning: TuningAsk = field(default_factory=TuningAsk)
    lines: tuple[LineAsk, ...] = ()


def tuning_of(connection: Connection, host_id: HostId) -> TuningAsk:
    """What a host's own knobs shall be."""
    text = connection.execute(select(tables.host.c.tuning).where(tables.host.c.id == host_id)).scalar_one_or_none()
    return TuningAsk() if text is None else load(text, TuningAsk)


def desired_of(connection: Connection, host_id: HostId) -> DesiredOfHost:
    """What the host is to have: its VMs (those to be deleted too), the networks they are on with their reservations, the images they start from,
    and the moves that it is an end of (networks and images of VMs that are to land are there before the VM is)."""
    vm, claim = tables.vm, tables.claim
    rows = connection.execute(select(vm.c.doc).join(claim, claim.c.id == vm.c.id).where(claim.c.host_id == host_id).order_by(vm.c.created_at, vm.c.id))
    vms = tuple(load(row.doc, DesiredVm) for row in rows)
    pool, tuning, facts = pool_of(connection, host_id), tuning_of(connection, host_id), _facts(connection, host_id)
    if pool is not None and pool[1].baseline is not None:
        cpu = cpu_on(pool[1], facts.cpu_features) if facts is not None else None
        vms = tuple(replace(vm, cpu=cpu) for vm in vms)
    vms = tuple(replace(vm, tuning=in_force(vm_settings(vm.spec, facts, tuning.profile))) for vm in vms)
    moves = moves_of(connection, host_id)
    here = (*vms, *landing_vms(moves))
    return DesiredOfHost(
        revision=newest_revision(connection),
        vms=vms,
        networks=_networks(connection, here),
        images=_images(connection, frozenset(one.spec.image_id for one in here if not one.deleted)),
        moves=moves,
        pool=None if pool is None else pool[1].ask,
        trials=trials_of(connection, host_id),
        tuning=tuning,
        lines=asks_of(connection, host_id),
    )


def _facts(connection: Connection, host_id: HostId) -> HostFacts | None:
    text = connection.execute(select(tables.host_observed.c.facts).where(tables.host_observed.c.host_id == host_id)).scalar_one_or_none()
    return None if text is None else load(text, HostFacts)


def _networks(connection: Connection, vms: tuple[DesiredVm, ...]) -> tuple[DesiredNetwork, ...]:
    reservations: dict[NetworkId, list[Reservation]] = {}
    for vm in vms:
        for nic in vm.nics:
            kept = reservations.setdefault(nic.network_id, [])
            if nic.address:
                kept.append(Reservation(mac=nic.mac, address=nic.address, name=vm.name))
    rows = connection.execute(select(tables.network).where(tables.network.c.id.in_(list(reservations))).order_by(tables.network.c.id))
    return tuple(
        DesiredNetwork(
            id=NetworkId(row.id),
            name=row.name,
            spec=load(row.doc, NetworkSpec),
            reservations=tuple(sorted(reservations[NetworkId(row.id)], key=lambda r: r.mac)),
        )
        for row in rows
    )


def _images(connection: Connection, ids: frozenset[ImageId]) -> tuple[DesiredImage, ...]:
    image, status = tables.image, tables.image_status
    query = select(image.c.id, image.c.doc, status.c.doc.label("status")).join(status, status.c.image_id == image.c.id)
    found = []
    for row in connection.execute(query.where(image.c.id.in_(list(ids)), status.c.state == ImageState.AVAILABLE.value).order_by(image.c.id)):
        is_so = load(row.status, ImageStatus)
        wanted = load(row.doc, ImageSpec)
        form = is_so.format or wanted.format
        if form is not None:
            found.append(
                DesiredImage(id=ImageId(row.id), format=form, size_bytes=is_so.size_bytes, virtual_size_bytes=is_so.virtual_size_bytes, sha256=is_so.sha256)
            )
    return tuple(found)
