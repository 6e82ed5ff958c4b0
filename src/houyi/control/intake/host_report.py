"""A host's word on what it can do for VMs. What is too long to be one is dropped; nothing rests on it."""

import math

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.errors import NotFound
from houyi.model.host_report import HostTraits
from houyi.model.ids import HostId
from houyi.store.docs import dump
from houyi.store.rows.host_report import put_host_report
from houyi.store.views.host_report import report_of

log = get_log(__name__)

DOC_BYTES_MAX = 256 << 10
"""Of a machine with 16 nodes and 256 devices that can be split it is 60 KiB."""


async def take_traits(control: Control, host_id: HostId, traits: HostTraits) -> None:
    """Write it down, if it is another than the last."""
    if len(dump(traits)) > DOC_BYTES_MAX or not math.isfinite(traits.accelerator.loop_ns):
        log.warning("host_report_unsound", host=host_id)
        return
    known = await control.store.read(lambda c: report_of(c, host_id))
    if known is not None and known.traits == traits:
        return
    try:
        await control.store.apply([put_host_report(host_id, traits, control.clock.now())])
    except NotFound:
        log.info("host_report_late", host=host_id)
