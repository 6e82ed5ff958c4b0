"""The tiny image: a Debian kernel, busybox, the QEMU guest agent and an SSH server, on a writable disk that boots in seconds with 128 MiB (by UEFI it needs 256: firmware and loader hold the rest while the kernel is unpacked).

What is in it, by file: tiny_files/. It takes its host name and SSH keys (for root) from the NoCloud seed, addresses by DHCP, answers the power
button within a second, and opens a root shell on the serial console: it is for trying the platform out, not for secrets.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from houyi.host import shell
from houyi.host.build import bootdisk, kernel, packages
from houyi.host.port import Progress
from houyi.model.errors import Failed

_KERNEL = "linux-image-cloud-amd64"
_PROGRAMS = ("busybox-static", "qemu-guest-agent", "dropbear-bin", "e2fsprogs")
_BINARIES = ("usr/sbin/qemu-ga", "usr/sbin/dropbear", "usr/bin/dropbearkey", "sbin/resize2fs")
_MODULES_REQUIRED = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")
_MODULES_WANTED = (
    *("virtio_scsi", "virtio_console", "virtio_balloon", "virtio_rng", "virtio_mem", "sd_mod", "sr_mod", "isofs", "vfat", "nls_ascii", "nls_cp437"),
    *("ahci", "ata_piix", "button", "evdev", "pvpanic_pci", "pvpanic_mmio", "i6300esb", "iTCO_wdt", "acpiphp", "af_packet", "failover", "net_failover"),
    *("crc32c_generic", "crc32c_intel"),
)
"""ext4 asks for the last two by another name than their own; in the cloud kernel they are built in."""
_ROOT_MIB = 96
"""What is in it takes about 50 MiB; the file system grows with the disk at each start."""
_FILES = {
    "inittab": "etc/inittab",
    "rc.start": "etc/rc.start",
    "rc.stop": "etc/rc.stop",
    "seed": "etc/seed",
    "card": "etc/card",
    "udhcpc.script": "etc/udhcpc.script",
    "guest-agent": "etc/guest-agent",
    "hotplug": "etc/hotplug",
    "console-shell": "etc/console-shell",
    "power": "etc/acpi/PWRF/00000080",
    "shutdown": "sbin/shutdown",
    "grub.cfg": "boot/grub/grub.cfg",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What an image has beside what makes it tiny."""

    kernel: str = _KERNEL
    """Package that names it."""
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    """Of the packages, by their places in them."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """File -> its place in the image."""
    root_mib: int = 0
    tree: Path | None = None
    """Where the root file system is put as a folder too, replacing what is there; it has no kernel."""


NOTHING = More()


async def build_tiny(target: Path, progress: Progress, *, cache: Path | None = None, more: More = NOTHING) -> None:
    """Build the tiny image and put it (QCOW2, about 40 MB) at `target`, replacing what is there in one step.

    `cache` keeps downloaded packages between builds (`state_dir`/build); None: nothing is kept. `progress` hears 0..1.

    :raise Failed: `package_missing`, `package_download_failed`, `program_missing`, `program_failed`, `kernel_unsuitable`, `build_not_root`.
    """
    if os.geteuid() != 0:
        raise Failed("build_not_root", "building an image needs root, since its files belong to root: run it as root")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="houyi-build-", dir=cache if cache and cache.is_dir() else None) as name:
        work = Path(name)
        await _build(target, progress, cache or work / "packages", work, more)


async def _build(target: Path, progress: Progress, cache: Path, work: Path, more: More) -> None:
    progress(0.0)
    kernel_package = next((name for name in (await packages.needs([more.kernel]))[more.kernel] if name.startswith("linux-image-")), "")
    if not kernel_package:
        raise Failed("package_missing", f"{more.kernel} names no kernel: run `apt-get update`, or correct this machine's apt sources")
    for folder, names in (
        ("kernel", (kernel_package,)),
        ("programs", await packages.libraries((*_PROGRAMS, *more.packages))),
        ("loader", bootdisk.PACKAGES),
    ):
        await packages.unpack(await packages.download(names, cache), work / folder)
    progress(0.4)
    root = work / "root"
    await _root(root, work / "programs")
    for name in more.programs:
        await _program(work / "programs", name, root)
    for own, inside in more.files.items():
        _copy(own, root / inside)
    if more.tree is not None:
        await _keep(root, more.tree)
    found = kernel.find(work / "kernel")
    early = work / "early"
    _busybox(work / "programs", early / "bin/busybox")
    loaded = await kernel.copy_modules(found, _MODULES_REQUIRED, _MODULES_WANTED, early)
    (early / "modules").write_text(" ".join(loaded) + "\n")
    _own_file("init", early / "init")
    shutil.copytree(early / "lib", root / "usr/lib", dirs_exist_ok=True)
    shutil.copyfile(found.image, root / "boot/vmlinuz")
    (root / "boot/initrd.img").write_bytes(kernel.initramfs(early))
    progress(0.6)
    loader = bootdisk.Loader(folder=work / "loader")
    await bootdisk.make(root, label="tiny-root", root_mib=_ROOT_MIB + more.root_mib, loader=loader, work=work, target=target)
    progress(1.0)


async def _root(root: Path, programs: Path) -> None:
    """The root file system: busybox's commands, the other programs with their libraries, our files."""
    for folder in ("boot/grub", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var/lib", "var/log"):
        (root / folder).mkdir(parents=True)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / folder).symlink_to(f"usr/{folder}")
    (root / "var/run").symlink_to("/run")
    (root / "root").chmod(0o700)
    busybox = _busybox(programs, root / "usr/bin/busybox")
    for applet in (await shell.run([str(busybox), "--list-full"], timeout=30)).text.split():
        place = root / "usr" / applet.removeprefix("usr/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists() and place.name != "busybox":
            place.symlink_to("/usr/bin/busybox")
    for own, inside in _FILES.items():
        (root / inside).unlink(missing_ok=True)
        _own_file(own, root / inside)
    for name in _BINARIES:
        await _program(programs, name, root)
    texts = {
        "passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "group": "root:x:0:\ntty:x:5:\n",
        "shadow": "root:*:19000:0:99999:7:::\n",
        "shells": "/bin/sh\n",
        "hostname": "tiny\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    }
    for file, text in texts.items():
        (root / "etc" / file).write_text(text)
    (root / "etc/shadow").chmod(0o600)


def _busybox(programs: Path, target: Path) -> Path:
    found = next((path for name in ("bin/busybox", "usr/bin/busybox") if (path := programs / name).is_file()), None)
    if found is None:
        raise Failed("package_missing", "busybox-static holds no busybox: the package has changed its layout")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(found, target)
    return target


async def _keep(root: Path, tree: Path) -> None:
    """A copy of `root` as `tree`, there at once or not at all."""
    new, old = (tree.with_name(f".{tree.name}.{word}") for word in ("new", "old"))
    for left in (new, old):
        await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
    await asyncio.to_thread(shutil.copytree, root, new, symlinks=True)
    if tree.exists():
        tree.rename(old)
    new.rename(tree)
    await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)


def _own_file(source: str, target: Path) -> None:
    _copy(Path(__file__).with_name("tiny_files") / source, target)


def _copy(source: Path, target: Path) -> None:
    """A file of ours; a script can be run."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    text = target.read_bytes()
    target.chmod(0o755 if text.startswith(b"#!") else 0o644)


async def _program(programs: Path, name: str, root: Path) -> None:
    """Copy a program and the libraries that its loader finds for it among the unpacked packages, never this machine's own."""
    source = next((path for prefix in ("", "usr/") if (path := programs / (prefix + name)).is_file()), None)
    loader = next((path for path in programs.rglob("ld-linux-x86-64.so.2") if path.is_file() and not path.is_symlink()), None)
    loader = loader or next((path for path in programs.rglob("ld-*.so*") if path.is_file() and not path.is_symlink()), None)
    if source is None or loader is None:
        raise Failed("package_missing", f"no {name} among the unpacked packages: a package has changed its layout")
    target = root / "usr" / name.removeprefix("usr/")
    target.unlink(missing_ok=True)
    shutil.copy2(source, target)
    folders = sorted({path.parent for path in programs.rglob("*.so.*")}, key=lambda folder: (len(folder.parts), folder))
    listed = await shell.run([str(loader), "--library-path", ":".join(map(str, folders)), "--list", str(source)], timeout=30)
    for line in listed.text.splitlines():
        _, _, found = line.partition(" => ")
        library = Path(found.split(" (")[0]) if found else None
        if library is not None and library.is_relative_to(programs):
            place = root / "usr/lib/x86_64-linux-gnu" / library.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(library, place)
            place.chmod(0o755)
        elif library is not None and not library.name.startswith("ld-linux"):
            raise Failed("library_missing", f"{name} needs {line.strip()}, which is in none of its packages: run `apt-get update` and build again")
    place = root / "usr/lib64/ld-linux-x86-64.so.2"
    shutil.copyfile(loader, place)
    place.chmod(0o755)
