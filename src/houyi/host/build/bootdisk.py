"""A disk that boots by BIOS and by UEFI, put together without loop devices, mounts or a boot loader's installer.

    sector 0        GRUB's boot.img with a partition table (MBR)
    sector 1        GRUB's core.img, up to the first partition (boot.img and core.img find each other by these places)
    1 MiB           FAT, type 0xEF: EFI/BOOT/BOOTX64.EFI, GRUB again
    then            ext4, type 0x83, labelled: the root file system; /boot/grub/grub.cfg in it is what both GRUBs read

It knows neither what is in the root file system nor packages.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from houyi.host import shell
from houyi.model.errors import Failed

SECTOR = 512
MIB = 1 << 20
_ESP_MIB = 4
"""GRUB's EFI program is about 0.5 MiB; mformat makes FAT12 of this size, which EFI firmware must read."""
_ROOT_START = (1 + _ESP_MIB) * MIB
_TABLE_OFFSET = 446
_BOOT_CODE_BYTES = 440
_MODULES = (
    "part_msdos",
    "part_gpt",
    "fat",
    "ext2",
    "search",
    "search_label",
    "configfile",
    "normal",
    "linux",
    "boot",
    "echo",
    "test",
    "ls",
    "cat",
    "minicmd",
    "gzio",
    "serial",
    "reboot",
    "halt",
    "all_video",
    "gfxterm",
    "loadenv",
    "regexp",
    "probe",
    "true",
    "sleep",
)
PACKAGES = ("grub-common", "grub-pc-bin", "grub-efi-amd64-bin")
"""Where GRUB's parts come from."""
PROGRAMS = ("mformat", "mcopy", "mmd", "mke2fs", "qemu-img")
"""From mtools, e2fsprogs and qemu-utils."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Where GRUB's parts are: an unpacked grub-common, grub-pc-bin and grub-efi-amd64-bin."""

    folder: Path

    @property
    def mkimage(self) -> Path:
        return self.folder / "usr/bin/grub-mkimage"

    def modules(self, platform: str) -> Path:
        return self.folder / "usr/lib/grub" / platform


async def make(root: Path, *, label: str, root_mib: int, loader: Loader, work: Path, target: Path) -> None:
    """Write a compressed QCOW2 image to `target` (replaced in one step) from the folder or tar archive `root`.

    `label` names the root file system (1 to 16 characters); `root_mib` is its size; `work` is a private folder for intermediate files.

    :raise Failed: `program_missing`, `program_failed`, `loader_too_large`.
    """
    early = work / "early.cfg"
    early.write_text(f"search --no-floppy --label {label} --set root\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n")
    core = await _grub(loader, "i386-pc", ("biosdisk",), early, work / "core.img")
    await _grub(loader, "x86_64-efi", ("efi_gop",), early, work / "bootx64.efi")
    boot = (loader.modules("i386-pc") / "boot.img").read_bytes()
    if len(core) > MIB - SECTOR:
        raise Failed("loader_too_large", f"GRUB's core image has {len(core)} bytes, only {MIB - SECTOR} fit in front of the first partition")
    esp = work / "esp.img"
    await _esp(work / "bootx64.efi", esp)
    file_system = work / "root.img"
    # GRUB 2.06 (Debian 12) refuses file systems with the two features that newer mke2fs turns on by default.
    options = ["-t", "ext4", "-L", label, "-O", "^orphan_file,^metadata_csum_seed", "-m", "1", "-E", "root_owner=0:0"]
    await shell.run(["mke2fs", "-q", "-F", *options, "-d", str(root), str(file_system), f"{root_mib}M"], timeout=900)
    raw = work / "disk.img"
    assemble(raw, boot, core, esp, file_system)
    part = target.with_name(target.name + ".part")
    await shell.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(raw), str(part)], timeout=1800)
    part.replace(target)


async def _grub(loader: Loader, platform: str, extra: tuple[str, ...], early: Path, out: Path) -> bytes:
    argv = [str(loader.mkimage), "-O", platform, "-d", str(loader.modules(platform)), "-p", "/boot/grub", "-c", str(early), "-o", str(out)]
    present = [name for name in (*_MODULES, *extra) if (loader.modules(platform) / f"{name}.mod").exists()]
    await shell.run([*argv, *present], timeout=60)
    return out.read_bytes()


async def _esp(program: Path, image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(_ESP_MIB * MIB)
    env = {"MTOOLS_SKIP_CHECK": "1"}
    await shell.run(["mformat", "-i", str(image), "-v", "ESP", "-N", "48594553", "::"], timeout=30, env=env)
    await shell.run(["mmd", "-i", str(image), "::/EFI", "::/EFI/BOOT"], timeout=30, env=env)
    await shell.run(["mcopy", "-i", str(image), str(program), "::/EFI/BOOT/BOOTX64.EFI"], timeout=30, env=env)


def assemble(raw: Path, boot: bytes, core: bytes, esp: Path, file_system: Path) -> None:
    """Write the whole disk to `raw` from its parts, leaving holes where they are empty."""
    root_bytes = file_system.stat().st_size
    first = bytearray(SECTOR)
    first[:_BOOT_CODE_BYTES] = boot[:_BOOT_CODE_BYTES]
    first[_BOOT_CODE_BYTES : _BOOT_CODE_BYTES + 4] = b"HOUY"
    table = _partition(0xEF, MIB, _ESP_MIB * MIB, active=False) + _partition(0x83, _ROOT_START, root_bytes, active=True)
    first[_TABLE_OFFSET : _TABLE_OFFSET + len(table)] = table
    first[510:512] = b"\x55\xaa"
    with raw.open("wb") as disk:
        disk.write(first + core)
        for start, part in ((MIB, esp), (_ROOT_START, file_system)):
            disk.seek(start)
            with part.open("rb") as source:
                _copy_sparse(source.fileno(), disk.fileno(), start, part.stat().st_size)
        disk.truncate(_ROOT_START + root_bytes)


def _copy_sparse(source: int, disk: int, start: int, size: int) -> None:
    zero = bytes(MIB)
    for offset in range(0, size, MIB):
        data = os.pread(source, MIB, offset)
        if data != zero[: len(data)]:
            os.pwrite(disk, data, start + offset)


def _partition(kind: int, start: int, size: int, *, active: bool) -> bytes:
    """One MBR entry: addresses by LBA; the cylinder fields say 'beyond what they can'."""
    return struct.pack("<B3sB3sII", 0x80 if active else 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start // SECTOR, size // SECTOR)
