"""What libvirt's states say of a VM that may be moving, as our testimony. No calls to libvirt."""

import libvirt

from houyi.model.migration import Presence

_POSTCOPY = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY): Presence.POSTCOPY,
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY): Presence.POSTCOPY,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED): Presence.POSTCOPY_BROKEN,
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED): Presence.POSTCOPY_BROKEN,
}
_ENDED = frozenset({libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_NOSTATE})
_BROKEN = frozenset({"postcopy-paused", "postcopy-recover-setup"})
"""QEMU's own migration states of a post-copy whose connection is lost: after a restart libvirtd may still call such a guest running."""


def presence(state: int, reason: int, *, arriving: bool, whole: bool, sending: bool, migrate_status: str = "") -> Presence:
    """:param arriving: our mark says that it came and has not been told to run. :param whole: all of it has come. :param sending: a job of an outgoing move is under way.
    :param migrate_status: QEMU's, where it was asked.
    """
    if state in _ENDED or (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED):
        return Presence.OFF
    if found := _POSTCOPY.get((state, reason)):
        return Presence.POSTCOPY_BROKEN if migrate_status in _BROKEN else found
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
        return Presence.SENDING if sending else Presence.LIVE
    if arriving:
        return Presence.ARRIVED if whole else Presence.INCOMING
    if (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION) or state == libvirt.VIR_DOMAIN_SHUTDOWN:
        return Presence.HALTED  # everything is sent, or its process is just ending: what came of it is seen at the next look
    return Presence.SENDING if sending else Presence.LIVE  # paused by its user


def is_postcopy(state: int, reason: int) -> bool:
    return (state, reason) in _POSTCOPY
