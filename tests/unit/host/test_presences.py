"""What libvirt's states testify of a VM that may be moving."""

import libvirt
import pytest

from houyi.host.libvirt.presences import presence
from houyi.model.migration import Presence

RUNNING, PAUSED, SHUTOFF = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_SHUTOFF


@pytest.mark.parametrize(
    ("state", "reason", "arriving", "sending", "found"),
    [
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED, False, False, Presence.LIVE),
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED, False, True, Presence.SENDING),
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_UNPAUSED, True, False, Presence.LIVE),  # it was told to run, and the mark could not be taken off yet
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, False, False, Presence.LIVE),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, False, False, Presence.LIVE),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, False, True, Presence.SENDING),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, True, False, Presence.INCOMING),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, True, False, Presence.INCOMING),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, True, False, Presence.INCOMING),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, False, True, Presence.HALTED),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, False, False, Presence.HALTED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, False, False, Presence.HALTED),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, False, True, Presence.POSTCOPY),
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY, True, False, Presence.POSTCOPY),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED, False, False, Presence.POSTCOPY_BROKEN),
        (RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED, False, False, Presence.POSTCOPY_BROKEN),
        (SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED, False, False, Presence.OFF),
        (SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, False, False, Presence.OFF),
        (PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED, False, False, Presence.OFF),
    ],
)
def test_presence(state: int, reason: int, arriving: bool, sending: bool, found: Presence) -> None:
    assert presence(state, reason, arriving=arriving, whole=False, sending=sending) is found


def test_qemus_own_word_counts_after_a_broken_post_copy() -> None:
    """libvirt may still call it running."""
    running = presence(RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY, arriving=True, whole=True, sending=False, migrate_status="postcopy-paused")
    assert running is Presence.POSTCOPY_BROKEN


def test_what_has_come_whole_is_told_from_what_is_coming() -> None:
    reasons = (libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_USER)
    assert {presence(PAUSED, reason, arriving=True, whole=True, sending=False) for reason in reasons} == {Presence.ARRIVED}
    assert presence(PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, arriving=False, whole=True, sending=False) is Presence.LIVE
