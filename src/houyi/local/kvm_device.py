"""Who may open /dev/kvm. Where no udev gave it to group kvm, libvirtd may open it and QEMU's user may not.

libvirt then finds at every look that its knowledge of QEMU is out of date ("KVM was enabled when probing, but it is not available now"), also for
VMs that do not use KVM, and asks QEMU again: some twenty times for each start of a VM, which takes half a minute instead of a second.
"""

import grp
import os
import stat
from pathlib import Path

from houyi.base.log import get_log

log = get_log(__name__)

DEVICE = Path("/dev/kvm")
GROUP = "kvm"
"""As systemd's and Debian's udev rules say; QEMU's user is in it."""


def closed_to_qemu(device: Path = DEVICE, group: str = GROUP) -> bool:
    """Whether members of `group` may not open the device; False where either is missing, since then there is nothing to give."""
    try:
        found, gid = device.stat(), grp.getgrnam(group).gr_gid
    except (FileNotFoundError, KeyError):
        return False
    by_group = found.st_gid == gid and found.st_mode & 0o060 == 0o060
    return not (by_group or found.st_mode & 0o006 == 0o006)


def open_to_qemu(device: Path = DEVICE, group: str = GROUP) -> None:
    """Do what udev would have done. Needs root; what is right already is left as it is."""
    if not closed_to_qemu(device, group):
        return
    before = device.stat()
    try:
        os.chown(device, -1, grp.getgrnam(group).gr_gid)
        device.chmod(stat.S_IMODE(before.st_mode) | 0o660)
    except OSError as error:
        log.warning("kvm_device_closed", device=str(device), error=error.strerror)
        return
    log.info("kvm_device_opened", device=str(device), group=group, gid_before=before.st_gid)
