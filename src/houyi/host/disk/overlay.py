"""A VM's boot disk: a sparse QCOW2 overlay over the cached image, in the VM's folder or in one that hosts share."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from houyi.host import shell
from houyi.host.disk.files import PASS_THROUGH, Files, Owner, appearing, disk_full_told, sync
from houyi.model.errors import Invalid, Unavailable
from houyi.model.ids import ImageId
from houyi.model.image import DesiredImage
from houyi.model.vm import DesiredVm

CREATE_SECONDS = 30.0
GIB = 1 << 30


async def create(files: Files, vm: DesiredVm, image: DesiredImage, owner: Owner, shared: Path | None) -> None:
    """See Disks.create_disk. The format of the image is passed on, never guessed; qemu-img does not even open it (`-u`).

    :param shared: where the disk is, if not on this host's own.
    """
    if files.disk(vm.id).exists():
        return
    if vm.spec.disk_gib * GIB < image.virtual_size_bytes:
        needed = -(-image.virtual_size_bytes // GIB)
        raise Invalid("disk_too_small", f"the image needs a disk of {needed} GiB: ask for more than {vm.spec.disk_gib} GiB")
    with _standing(files, vm, image.id) as base:
        if shared is None or not shared.exists():
            with appearing(shared or files.disk(vm.id), mode=0o600, owner=owner) as new:
                backing = ["-F", base.suffix[1:], "-b", str(base), "-u"]
                await shell.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(new), str(vm.spec.disk_gib * GIB)], timeout=CREATE_SECONDS)
        _lead(files, vm, shared)


def adopt(files: Files, vm: DesiredVm, shared: Path) -> bool:
    """See Disks.adopt_disk."""
    if not shared.exists():
        return False
    with _standing(files, vm, vm.spec.image_id):
        _lead(files, vm, shared)
    return True


def _lead(files: Files, vm: DesiredVm, shared: Path | None) -> None:
    """From the VM's folder to the disk that is elsewhere."""
    if shared is not None and not files.disk(vm.id).is_symlink():
        files.disk(vm.id).symlink_to(shared)
        sync(files.vm(vm.id))


@contextmanager
def _standing(files: Files, vm: DesiredVm, image_id: ImageId) -> Iterator[Path]:
    """The VM's folder with what its disk stands on; gone again if it was made for nothing. :raise Unavailable: `image_missing`."""
    cached = files.cached(image_id)
    if cached is None:
        raise Unavailable("image_missing", f"image {image_id} is not in this host's cache: it is fetched before the disk is made")
    folder, base = files.vm(vm.id), files.vm(vm.id) / f"base{cached.suffix}"
    fresh = not folder.exists()
    folder.mkdir(exist_ok=True)
    folder.chmod(PASS_THROUGH)
    try:
        with disk_full_told(base):
            if not base.exists():
                os.link(cached, base)
            yield base
            sync(files.vms)
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
