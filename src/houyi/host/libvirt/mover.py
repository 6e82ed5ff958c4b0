"""The Mover port over libvirt: peer-to-peer moves whose copies wait for `go` (docs/rfd/0002-fleet.md, "Two keys").

libvirt's peer-to-peer move goes on without its client, so an attempt is a thread that waits; who dies meanwhile finds it again by its job.
"""

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import libvirt

from houyi.host.disk.files import Files, Owner, appearing
from houyi.host.domxml import domain_element
from houyi.host.domxml.context import NAMESPACE, DomainContext
from houyi.host.domxml.landing import landed_xml
from houyi.host.domxml.metadata import Mark, mark_domain, metadata_xml
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.domains import Memory, find, mark_of
from houyi.host.libvirt.jobs import LEAST_THROTTLE, Endings, figures_of
from houyi.host.libvirt.presences import is_postcopy, presence
from houyi.host.libvirt.qmp import Refused, ask
from houyi.host.libvirt.sampled import allocated_mib, begin_sample, end_sample
from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.host import Accelerator, NumaNode
from houyi.model.ids import VmId
from houyi.model.migration import Figures, GuestSample, Knobs, Landing, Presence, Terms
from houyi.model.vm import DesiredVm

DISK = "vda"
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Maker:
    """What domain XML of this host is made of, beside the VM."""

    files: Files
    accelerator: Callable[[], Accelerator]
    tcg_tb_size_mib: int
    numa: tuple[NumaNode, ...] = ()

    def context(self, vm: DesiredVm) -> DomainContext:
        paths = self.files.paths(vm.id)
        return DomainContext(vm=vm, accelerator=self.accelerator(), tcg_tb_size_mib=self.tcg_tb_size_mib, paths=paths, numa=self.numa)


class LibvirtMover:
    """`tls` is the folder in which QEMU looks for its credentials."""

    def __init__(self, connection: LibvirtConnection, memory: Memory, endings: Endings, maker: Maker, owner: Owner, tls: Path) -> None:
        self._connection, self._memory, self._endings, self._maker, self._owner, self._tls = connection, memory, endings, maker, owner, tls

    async def presences(self, vm_ids: Collection[VmId]) -> Mapping[VmId, Presence]:
        return await self._connection.call(lambda connection: {vm_id: _presence(connection, vm_id) for vm_id in vm_ids})

    async def credentials(self, ca_pem: str, certificate_pem: str, key_pem: str) -> None:
        def write() -> None:
            self._tls.mkdir(parents=True, exist_ok=True, mode=0o755)
            for name, text, mode in (
                ("ca-cert.pem", ca_pem, 0o444),
                *((f"{role}-key.pem", key_pem, 0o400) for role in ("server", "client")),
                *((f"{role}-cert.pem", certificate_pem, 0o444) for role in ("server", "client")),
            ):
                with appearing(self._tls / name, mode=mode, owner=self._owner) as new:
                    new.touch(mode=0o600)
                    new.write_text(text)

        await asyncio.to_thread(write)

    async def landing_xml(self, vm: DesiredVm) -> str:
        domain = domain_element(self._maker.context(vm))
        mark_domain(domain, Mark(vm_id=vm.id, epoch=vm.epoch, generation=vm.generation))
        return ET.tostring(domain, encoding="unicode")

    async def send(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        return await self._attempt(vm, landing, libvirt_socket, terms, 0)

    async def recover(self, vm: DesiredVm, landing: Landing, libvirt_socket: Path, terms: Terms) -> Figures:
        return await self._attempt(vm, landing, libvirt_socket, terms, libvirt.VIR_MIGRATE_POSTCOPY_RESUME)

    async def figures(self, vm_id: VmId) -> Figures | None:
        def look(connection: Any) -> Figures | None:
            domain = find(connection, vm_id)
            return None if domain is None or not _is_sending(domain) else figures_of(domain.jobStats(), domain.state())

        return await self._connection.call(look)

    async def turn(self, vm_id: VmId, knobs: Knobs) -> None:
        def act(connection: Any) -> None:
            domain = find(connection, vm_id)
            if domain is None or not _is_sending(domain):
                return
            if knobs.bandwidth_mib_s is not None:
                domain.migrateSetMaxSpeed(round(knobs.bandwidth_mib_s) or _LINE_MIB_S)
            if knobs.downtime_ms is not None:
                domain.migrateSetMaxDowntime(round(knobs.downtime_ms))
            if knobs.throttle_percent is not None:
                _throttle(domain, knobs.throttle_percent)
            if knobs.postcopy:
                domain.migrateStartPostCopy()

        await self._connection.call(act)

    async def abort(self, vm_id: VmId) -> None:
        def act(connection: Any) -> None:
            domain = find(connection, vm_id)
            if domain is None or not _is_sending(domain) or is_postcopy(*domain.state()):
                return
            with contextlib.suppress(libvirt.libvirtError):  # it has just ended, which `send` tells
                domain.abortJob()

        await self._connection.call(act)

    async def go(self, vm_id: VmId, *, run: bool) -> None:
        await self._connection.call(lambda connection: _go(connection, vm_id, run=run))
        self._memory.forget(vm_id)

    async def sample(self, vm_id: VmId, seconds: float) -> GuestSample:
        span = await self._connection.call(lambda connection: begin_sample(_resting(connection, vm_id), seconds))
        await asyncio.sleep(span)
        for _ in range(50):
            found = await self._connection.call(lambda connection: end_sample(connection, _resting(connection, vm_id), span))
            if found is not None:
                return replace(found, disk_mib=await asyncio.to_thread(allocated_mib, self._maker.files.disk(vm_id)))
            await asyncio.sleep(_POLL_SECONDS)
        raise Failed("dirty_rate_unknown", "QEMU does not say how fast the guest writes: it is asked again later")

    async def _attempt(self, vm: DesiredVm, landing: Landing, socket: Path, terms: Terms, more: int) -> Figures:
        """Blocks a thread for as long as it takes: not one of the connection's, which everybody else needs."""
        self._endings.begin(vm.id)
        act = self._connection.call_apart(lambda connection: _migrate(connection, vm, landing, socket, terms, more))
        try:
            await act
            await self._endings.wait(vm.id)
        except (Failed, Invalid) as error:
            if error.code == "migration_cancelled":
                raise
            raise Failed("migration_failed", error.detail) from error
        finally:
            figures = self._endings.take(vm.id)
            self._memory.forget(vm.id)
        return figures


_LINE_MIB_S = 1 << 20
"""A cap that no line reaches: libvirt takes 0 for its own default in some places and for nothing in others."""


def _is_sending(domain: Any) -> bool:
    try:
        return bool(domain.isActive()) and domain.jobStats().get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_DOMAIN):
            return False  # 'unsupported': it is arriving
        raise


def _presence(connection: Any, vm_id: VmId) -> Presence:
    domain = find(connection, vm_id)
    if domain is None:
        return Presence.NONE
    try:
        state, reason = domain.state()
        mark = mark_of(domain)
        status = _migrate_status(domain) if is_postcopy(state, reason) else ""
        return presence(state, reason, arriving=mark is not None and mark.arriving, whole=_has_come(domain), sending=_is_sending(domain), migrate_status=status)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return Presence.NONE  # undefined in between
        raise


def _migrate_status(domain: Any) -> str:
    with contextlib.suppress(libvirt.libvirtError, Refused):
        return str(ask(domain, "query-migrate").get("status", ""))
    return ""


def _throttle(domain: Any, percent: int) -> None:
    """auto-converge's ceiling, and at once up to it: libvirt sets its parameters only before the move begins."""
    steps = dict.fromkeys(("cpu-throttle-initial", "cpu-throttle-increment", "max-cpu-throttle"), max(LEAST_THROTTLE, percent))
    try:
        ask(domain, "migrate-set-parameters", **steps)
    except Refused as error:
        raise Failed("throttle_refused", f"QEMU refused to slow the guest: {error}") from error


def _flags(landing: Landing, terms: Terms) -> int:
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    postcopy = terms.postcopy and terms.channels == 1
    chosen = (
        # The first key: what arrives waits for `go`. libvirt refuses it together with post-copy, after whose switch it never resumes the source itself.
        (not postcopy, libvirt.VIR_MIGRATE_PAUSED),
        (postcopy, libvirt.VIR_MIGRATE_POSTCOPY),
        (terms.encrypted, libvirt.VIR_MIGRATE_TLS),
        # Whether files are shared is known to us by their marker; libvirt knows only cluster file systems, and calls all others unsafe.
        (landing.copies_disk, libvirt.VIR_MIGRATE_NON_SHARED_INC),
        (not landing.copies_disk, libvirt.VIR_MIGRATE_UNSAFE),
        (terms.channels > 1, libvirt.VIR_MIGRATE_PARALLEL),
        (terms.compressed and terms.channels > 1, libvirt.VIR_MIGRATE_COMPRESSED),
        (terms.throttles, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
    )
    return int(flags | sum(flag for on, flag in chosen if on))


def _parameters(domain: Any, landing: Landing, terms: Terms) -> dict[str, Any]:
    running = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    mark = mark_of(domain)
    started_at = mark.started_at if mark is not None else 0.0
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{landing.address}",
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: landed_xml(running, landing.domain_xml, started_at=started_at, arriving=True),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: landed_xml(running, landing.domain_xml, started_at=0.0, arriving=False),
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: round(terms.bandwidth_mib_s_max) or _LINE_MIB_S,
    }
    if landing.copies_disk:
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = [DISK]
    if terms.encrypted:
        parameters[libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION] = landing.tls_name
    if terms.channels > 1:
        parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = terms.channels
        if terms.compressed:
            parameters[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = "zstd"
    if terms.throttles:  # not before the ladder says so: `_throttle` raises these
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL] = LEAST_THROTTLE
        parameters[libvirt.VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT] = LEAST_THROTTLE
    return parameters


def _migrate(connection: Any, vm: DesiredVm, landing: Landing, socket: Path, terms: Terms, more: int) -> None:
    domain = find(connection, vm.id)
    if domain is None or not domain.isActive():
        raise Conflict("not_running", "the VM does not run on this host any more")
    try:
        domain.migrateToURI3(f"qemu+unix:///system?socket={socket}", _parameters(domain, landing, terms), _flags(landing, terms) | more)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_ABORTED:
            raise Failed("migration_cancelled", "the move was cancelled") from error
        raise


def _has_come(domain: Any | None) -> bool:
    """It becomes persistent when libvirt has finished the move here."""
    return domain is not None and bool(domain.isActive()) and bool(domain.isPersistent())


def _go(connection: Any, vm_id: VmId, *, run: bool) -> None:
    domain = find(connection, vm_id)
    if domain is None or not _has_come(domain):
        raise Conflict("not_arrived", "the guest has not arrived on this host")
    if run and domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
        domain.resume()
    mark = mark_of(domain)
    if mark is not None and mark.arriving:
        stays = metadata_xml(replace(mark, arriving=False))
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, stays, "houyi", NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _resting(connection: Any, vm_id: VmId) -> Any:
    domain = find(connection, vm_id)
    if domain is None or not domain.isActive():
        raise Conflict("not_running", "the VM is not running on this host")
    if _is_sending(domain):
        raise Conflict("vm_moving", "measuring how fast the guest writes would disturb its move")
    return domain
