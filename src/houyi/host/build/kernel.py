"""A kernel for a small system: its modules with what they need, and the archive that the kernel unpacks at start (initramfs).

Pure file work on an unpacked kernel package; knows no disk layout.
"""

import gzip
import lzma
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from houyi.host import shell
from houyi.model.errors import Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """An unpacked kernel package."""

    version: str
    image: Path
    modules: Path
    """The folder that holds kernel/ and modules.* of this version."""


def find(folder: Path) -> Kernel:
    """The kernel unpacked in `folder`. :raise Failed: `kernel_missing`."""
    images = sorted((folder / "boot").glob("vmlinuz-*"))
    if not images:
        raise Failed("kernel_missing", f"no boot/vmlinuz-* among the unpacked packages in {folder}: the kernel package has changed its layout")
    version = images[-1].name.removeprefix("vmlinuz-")
    trees = [tree for root in ("lib", "usr/lib") if (tree := folder / root / "modules" / version).is_dir()]
    if not trees:
        raise Failed("kernel_missing", f"no modules of kernel {version} among the unpacked packages in {folder}: the kernel package has changed its layout")
    return Kernel(version=version, image=images[-1], modules=trees[0])


async def copy_modules(kernel: Kernel, required: Iterable[str], wanted: Iterable[str], root: Path) -> tuple[str, ...]:
    """Copy modules (by name) and those they need, unpacked, with a matching modules.dep, into `root`/lib/modules/<version>.

    Returns the names that have to be loaded: those that are not built into the kernel and that exist. :raise Failed: `kernel_unsuitable`.
    """
    await shell.run(["depmod", "-b", str(kernel.modules.parents[2]), kernel.version], timeout=120)
    return choose_modules(kernel, required, wanted, root)


def choose_modules(kernel: Kernel, required: Iterable[str], wanted: Iterable[str], root: Path) -> tuple[str, ...]:
    """As `copy_modules`, once modules.dep is there."""
    needs: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    by_name = {_name(file): file for file in needs}
    built_in = {_name(line) for line in (kernel.modules / "modules.builtin").read_text().split()}
    required = tuple(required)
    if absent := [name for name in required if name not in by_name and name not in built_in]:
        raise Failed("kernel_unsuitable", f"kernel {kernel.version} has no {', '.join(absent)}: it cannot run on virtio devices")
    loaded = tuple(name for name in (*required, *wanted) if name in by_name)
    chosen = sorted({file for name in loaded for file in (by_name[name], *needs[by_name[name]])})
    target = root / "lib/modules" / kernel.version
    for file in chosen:
        _copy_module(kernel.modules / file, target / _plain(file))
    lines = [f"{_plain(file)}: {' '.join(_plain(other) for other in needs[file])}".rstrip() for file in chosen]
    (target / "modules.dep").write_text("".join(f"{line}\n" for line in lines))
    return loaded


def _plain(file: str) -> str:
    return file.removesuffix(".xz").removesuffix(".gz")


def _name(file: str) -> str:
    return _plain(Path(file).name).removesuffix(".ko").replace("-", "_")


def _copy_module(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".ko":
        shutil.copyfile(source, target)
        return
    data = source.read_bytes()
    target.write_bytes(lzma.decompress(data) if source.suffix == ".xz" else gzip.decompress(data))


def initramfs(root: Path) -> bytes:
    """The folder `root` as a gzip-compressed archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst), owned by root, without times."""
    parts: list[bytes] = []
    for number, path in enumerate(sorted(root.rglob("*")), start=1):
        mode = path.lstat().st_mode
        parts.append(_entry(str(path.relative_to(root)), number, mode, _content(path)))
    parts.append(_entry("TRAILER!!!", 0, 0, b""))
    return gzip.compress(b"".join(parts), compresslevel=9, mtime=0)


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return str(path.readlink()).encode()
    return path.read_bytes() if path.is_file() else b""


def _entry(name: str, number: int, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
