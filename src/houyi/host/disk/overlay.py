"""A VM's boot disk: a sparse QCOW2 overlay over the cached image."""

import os
import shutil

from houyi.host import shell
from houyi.host.disk.files import PASS_THROUGH, Files, Owner, appearing, sync
from houyi.model.errors import Invalid, Unavailable
from houyi.model.image import DesiredImage
from houyi.model.vm import DesiredVm

CREATE_SECONDS = 30.0
GIB = 1 << 30


async def create(files: Files, vm: DesiredVm, image: DesiredImage, owner: Owner) -> None:
    """See Disks.create_disk. The format of the image is passed on, never guessed; qemu-img does not even open it (`-u`)."""
    if files.disk(vm.id).exists():
        return
    if vm.spec.disk_gib * GIB < image.virtual_size_bytes:
        needed = -(-image.virtual_size_bytes // GIB)
        raise Invalid("disk_too_small", f"the image needs a disk of {needed} GiB: ask for more than {vm.spec.disk_gib} GiB")
    cached = files.cached(image.id)
    if cached is None:
        raise Unavailable("image_missing", f"image {image.id} is not in this host's cache: it is fetched before the disk is made")
    folder, base = files.vm(vm.id), files.vm(vm.id) / f"base{cached.suffix}"
    fresh = not folder.exists()
    folder.mkdir(exist_ok=True)
    folder.chmod(PASS_THROUGH)
    try:
        with appearing(files.disk(vm.id), mode=0o600, owner=owner) as new:
            if not base.exists():
                os.link(cached, base)
            backing = ["-F", cached.suffix[1:], "-b", str(base), "-u"]
            await shell.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(new), str(vm.spec.disk_gib * GIB)], timeout=CREATE_SECONDS)
        sync(files.vms)
    except BaseException:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
