"""Where the files of a host are, who owns them, and how a file appears at once or not at all.

<state>/images/<id>.qcow2|.raw     whole, verified, root's, 0444          <id>.part   being fetched
<state>/vms/<id>/                  root's, 0711: QEMU can open what is in it but neither list nor replace
    base.qcow2|.raw                hard link to the image, so that an image may leave the cache while disks stand on it
    disk.qcow2  seed.iso           QEMU's user's, 0600           nvram.fd    made by libvirt
                                   (disk.qcow2 leads to <folder>/<id>.qcow2 where the VM's storage is a shared folder)
    console.log console.log.N      virtlogd's
<run>/sockets/                     QEMU's user's, 0700: it makes the sockets; besides it only root gets in
    <id>.serial  <id>.vnc
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from houyi.host.domxml.context import VmPaths
from houyi.model.errors import Failed, Invalid
from houyi.model.ids import ImageId, VmId
from houyi.model.image import DiskFormat
from houyi.model.names import is_id

SOCKET_PATH_BYTES_MAX = 107
"""sockaddr_un holds 108 bytes with the closing zero; QEMU and libvirt refuse longer paths only when the VM starts."""
PASS_THROUGH = 0o711
NVRAM = "nvram.fd"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom QEMU runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Files:
    """The layout, as paths. Ids are checked, so that no id can lead out of its folder."""

    state: Path
    run: Path

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def vms(self) -> Path:
        return self.state / "vms"

    @property
    def sockets(self) -> Path:
        return self.run / "sockets"

    def image(self, image_id: ImageId, stored: DiskFormat) -> Path:
        return self.images / f"{_checked(image_id)}.{'raw' if stored is DiskFormat.RAW else 'qcow2'}"

    def part(self, image_id: ImageId) -> Path:
        return self.images / f"{_checked(image_id)}.part"

    def cached(self, image_id: ImageId) -> Path | None:
        """The image's file if it is whole."""
        both = (self.image(image_id, stored) for stored in (DiskFormat.QCOW2, DiskFormat.RAW))
        return next((path for path in both if path.exists()), None)

    def vm(self, vm_id: VmId) -> Path:
        return self.vms / _checked(vm_id)

    def base(self, vm_id: VmId) -> Path | None:
        """What a VM's disk stands on; None: there is no such VM here."""
        both = (self.vm(vm_id) / f"base.{extension}" for extension in ("qcow2", "raw"))
        return next((path for path in both if path.exists()), None)

    def disk(self, vm_id: VmId) -> Path:
        return self.vm(vm_id) / "disk.qcow2"

    def seed(self, vm_id: VmId) -> Path:
        return self.vm(vm_id) / "seed.iso"

    def console_log(self, vm_id: VmId) -> Path:
        return self.vm(vm_id) / "console.log"

    def serial_socket(self, vm_id: VmId) -> Path:
        return self.sockets / f"{_checked(vm_id)}.serial"

    def vnc_socket(self, vm_id: VmId) -> Path:
        return self.sockets / f"{_checked(vm_id)}.vnc"

    def paths(self, vm_id: VmId) -> VmPaths:
        """Everything the domain XML names. :raise Failed: `disk_missing`."""
        base = self.base(vm_id)
        if base is None or not self.disk(vm_id).exists() or not self.seed(vm_id).exists():
            raise Failed("disk_missing", "the VM has no disk or no seed on this host: they are made before it is started")
        return VmPaths(
            disk=self.disk(vm_id).resolve(),
            base=base,
            base_format=DiskFormat.RAW if base.suffix == ".raw" else DiskFormat.QCOW2,
            seed=self.seed(vm_id),
            nvram=self.vm(vm_id) / NVRAM,
            console_log=self.console_log(vm_id),
            serial_socket=self.serial_socket(vm_id),
            vnc_socket=self.vnc_socket(vm_id),
        )

    def prepare(self, owner: Owner) -> None:
        """Make the folders, and check that QEMU's user gets through to them.

        :raise Invalid: `path_too_long`, `path_closed`. An unsuitable setting is told here, not by QEMU at the first start.
        """
        longest = len(os.fsencode(self.sockets / f"{'0' * 36}.serial"))
        if longest > SOCKET_PATH_BYTES_MAX:
            raise Invalid(
                "path_too_long",
                f"run_dir {self.run} makes socket paths of {longest} bytes, but the kernel takes {SOCKET_PATH_BYTES_MAX}: set a shorter run_dir",
            )
        for folder in (self.images, self.vms, self.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            folder.chmod(PASS_THROUGH)
        self.state.chmod(self.state.stat().st_mode | 0o011)
        self.sockets.mkdir(exist_ok=True)
        self.sockets.chmod(0o700)
        os.chown(self.sockets, owner.uid, owner.gid)
        for folder in {*self.vms.parents, *self.sockets.parents}:
            if not _passes(folder, owner):
                raise Invalid(
                    "path_closed", f"QEMU's user (uid {owner.uid}) cannot pass through {folder}: `chmod o+x` it, or set state_dir and run_dir elsewhere"
                )


def _passes(folder: Path, owner: Owner) -> bool:
    seen = folder.stat()
    bit = 0o100 if seen.st_uid == owner.uid else 0o010 if seen.st_gid == owner.gid else 0o001
    return owner.uid == 0 or bool(seen.st_mode & bit)


def _checked(id_: str) -> str:
    if not is_id(id_):
        raise Invalid("id_invalid", f"{id_[:80]!r} is not an id: ids are lower-case UUIDs")
    return id_


@contextmanager
def appearing(path: Path, *, mode: int, owner: Owner | None = None) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well, what was written there is durable and in `path`'s place, else it is gone.

    :raise Failed: `disk_full`.
    """
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with disk_full_told(path):
            yield temporary
            settle(temporary, path, mode=mode, owner=owner)
    finally:
        temporary.unlink(missing_ok=True)


def settle(temporary: Path, path: Path, *, mode: int, owner: Owner | None = None) -> None:
    """Make a finished file durable under its name."""
    temporary.chmod(mode)
    if owner is not None:
        os.chown(temporary, owner.uid, owner.gid)
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_full_told(path: Path) -> Iterator[None]:
    """Turn the kernel's ENOSPC and EDQUOT (and what a tool says about it) into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(path) from error
        raise
    except Failed as error:
        if os.strerror(errno.ENOSPC) in error.detail:
            raise disk_full(path) from error
        raise


def disk_full(path: Path) -> Failed:
    return Failed("disk_full", f"the disk under {path.parent} is full: free space there, or move VMs away")


def check_space(path: Path, needed: int) -> None:
    """Refuse before the last byte of the host is used up. :raise Failed: `disk_full`."""
    if shutil.disk_usage(path.parent).free < needed:
        raise disk_full(path)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """All of it: the kernel may take less at a time. :raise OSError:"""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
