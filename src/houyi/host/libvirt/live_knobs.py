"""The LiveKnobs port over libvirt: what of a running domain can be turned without a restart."""

from collections.abc import Mapping
from typing import Any

import libvirt

from houyi.host.domxml.tuning.io import QEMU_POLL_NS
from houyi.host.libvirt.connection import LibvirtConnection
from houyi.host.libvirt.domains import Memory, find_running
from houyi.model.errors import Failed
from houyi.model.ids import VmId
from houyi.model.tuning import AUTO


class LibvirtLiveKnobs:
    def __init__(self, connection: LibvirtConnection, memory: Memory) -> None:
        self._connection, self._memory = connection, memory

    async def turn(self, vm_id: VmId, settings: Mapping[str, str]) -> None:
        try:
            await self._connection.call(lambda connection: _turn(connection, vm_id, settings))
        finally:
            self._memory.forget(vm_id)  # its XML has changed, as far as it went


def _turn(connection: Any, vm_id: VmId, settings: Mapping[str, str]) -> None:
    domain = find_running(connection, vm_id)
    for name, value in settings.items():
        if name != "io_poll_ns":
            raise Failed("knob_not_live", f"knob {name} cannot be turned while the guest runs: stop the VM and start it")
        limit = QEMU_POLL_NS if value == AUTO else int(value)
        for thread in domain.ioThreadInfo(libvirt.VIR_DOMAIN_AFFECT_LIVE):
            domain.setIOThreadParams(thread[0], {libvirt.VIR_DOMAIN_IOTHREAD_POLL_MAX_NS: limit}, libvirt.VIR_DOMAIN_AFFECT_LIVE)
