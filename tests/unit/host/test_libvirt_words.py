"""What libvirt and guests say, in our words."""

import libvirt
import pytest

from houyi.host.disk.files import Owner
from houyi.host.domxml.metadata import Mark, parse_mark
from houyi.host.libvirt.connection import translated
from houyi.host.libvirt.domains import meaning
from houyi.host.libvirt.facts import read_owner, version_text
from houyi.host.libvirt.guests import routable
from houyi.model.errors import Failed, Invalid, Unavailable
from houyi.model.ids import VmId
from houyi.model.vm import StateReason, VmState


def test_addresses_of_a_hostile_guest() -> None:
    said = ["10.0.0.1", "127.0.0.1", "::1", "fe80::1%eth0", "<script>", "", "2001:DB8::1", "10.0.0.1", "224.0.0.1", "0.0.0.0", "999.1.1.1"]
    assert routable(said) == ("10.0.0.1", "2001:db8::1")
    assert len(routable(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1000))) == 32


@pytest.mark.parametrize(
    ("state", "reason", "asked", "ran", "expected"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 1, False, True, (VmState.RUNNING, StateReason.NONE)),
        (libvirt.VIR_DOMAIN_BLOCKED, 0, False, True, (VmState.RUNNING, StateReason.NONE)),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, False, True, (VmState.PAUSED, StateReason.IO_ERROR)),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED, False, True, (VmState.CRASHED, StateReason.GUEST_PANIC)),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, False, True, (VmState.PAUSED, StateReason.NONE)),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, True, True, (VmState.STOPPING, StateReason.REQUESTED)),
        (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED, False, True, (VmState.CRASHED, StateReason.GUEST_PANIC)),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, True, True, (VmState.CRASHED, StateReason.QEMU_DIED)),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, False, True, (VmState.STOPPED, StateReason.EXTERNAL)),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, False, False, (VmState.STOPPED, StateReason.NONE)),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, False, False, (VmState.STOPPED, StateReason.GUEST_SHUTDOWN)),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN, False, False, (VmState.STOPPED, StateReason.NONE)),
    ],
)
def test_states(state: int, reason: int, asked: bool, ran: bool, expected: tuple[VmState, StateReason]) -> None:
    assert meaning(state, reason, asked=asked, ran=ran) == expected


class Said(libvirt.libvirtError):
    """An error as libvirt raises it, with a code of our choice."""

    def __init__(self, code: int) -> None:
        Exception.__init__(self, "its words")
        self.err = (code, 0, "its words", 0, None, None, None, 0, 0)


@pytest.mark.parametrize(
    ("code", "alive", "kind", "ours"),
    [
        (libvirt.VIR_ERR_INTERNAL_ERROR, False, Unavailable, "libvirt_away"),
        (libvirt.VIR_ERR_RPC, True, Unavailable, "libvirt_away"),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, True, Unavailable, "libvirt_busy"),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, True, Invalid, "domain_refused"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, True, Failed, "libvirt_failed"),
    ],
)
def test_errors(code: int, alive: bool, kind: type[Exception], ours: str) -> None:
    error = translated(Said(code), alive=alive)
    assert (type(error), error.code) == (kind, ours)
    assert "its words" in error.detail


def test_small_readings() -> None:
    assert version_text(11003000) == "11.3.0"
    label = "<secmodel><model>{}</model><baselabel type='kvm'>+1:+2</baselabel><baselabel type='qemu'>+64055:+993</baselabel></secmodel>"
    assert read_owner(f"<capabilities><host><secmodel><model>none</model></secmodel>{label.format('dac')}</host></capabilities>") == Owner(64055, 993)
    assert read_owner("<capabilities><host/></capabilities>") is None
    assert parse_mark('<vm id="x" epoch="2" generation="3" arriving="yes"/>', "x") == Mark(vm_id=VmId("x"), epoch=2, generation=3, arriving=True)
    for strange in ('<vm id="y" epoch="2" generation="3"/>', '<vm id="x" epoch="two" generation="3"/>', '<vm id="x"/>'):
        assert parse_mark(strange, "x") is None
