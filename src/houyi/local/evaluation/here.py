"""Places on this machine: the machine itself, and a container. Both run the tree's programs; only the boundary differs.

A command is a fresh mount namespace with the tree as its root; in a container also fresh namespaces of processes, names and messages, the container's network
(a namespace with a cable, veth, to the machine), and its control groups. What is left after a command is nothing; after `close`, nothing of the container.
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from houyi.host import shell
from houyi.local.evaluation.groups import Groups, hierarchy, make_groups
from houyi.local.evaluation.place import Said
from houyi.local.evaluation.tree import Tree
from houyi.model.evaluation import Place, PlaceKind

SCRATCH = "/var/bench"
_ENTER, _JOIN = (str(Path(__file__).with_name(name)) for name in ("enter", "join"))
_MOUNTS = ("unshare", "--mount", "--propagation", "private")
_APART = ("--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup")
_SECONDS = 20.0
MACHINE_END, CONTAINER_END = "169.254.97.1", "169.254.97.2"
"""Addresses of the cable's ends: link-local, so that they lead nowhere else."""


class MachineVenue:
    """The machine itself."""

    scratch = SCRATCH

    def __init__(self, tree: Tree, folder: Path) -> None:
        """:param folder: on the disk that is measured; it is made, and removed at the end."""
        self.place = Place(PlaceKind.MACHINE)
        self._tree, self._folder = tree, folder
        folder.mkdir(mode=0o700, parents=True)

    def argv(self, argv: Sequence[str]) -> list[str]:
        return [*_MOUNTS, "sh", _ENTER, "machine", str(self._tree.folder), str(self._folder), *argv]

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        return await _said(self.argv(argv), seconds)

    async def boot(self) -> float | None:
        return None

    async def peer(self) -> str:
        return "127.0.0.1"

    async def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class ContainerVenue:
    """A plain container. Use `open_container`."""

    scratch = SCRATCH

    def __init__(self, tree: Tree, folder: Path, name: str, groups: Groups, undo: AsyncExitStack) -> None:
        self.place = Place(PlaceKind.CONTAINER)
        self._tree, self._folder, self._name, self._groups, self._undo = tree, folder, name, groups, undo

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        joined = ["sh", _JOIN, *map(str, self._groups.folders), "--", "ip", "netns", "exec", self._name]
        return await _said([*joined, *_MOUNTS, *_APART, "sh", _ENTER, "container", str(self._tree.folder), str(self._folder), *argv], seconds)

    async def boot(self) -> float | None:
        begun = time.monotonic()
        await self.run(("true",), _SECONDS)
        return time.monotonic() - begun

    async def peer(self) -> str:
        return MACHINE_END

    async def close(self) -> None:
        await self._undo.aclose()


async def open_container(tree: Tree, folder: Path, name: str, cpus: int, memory_mib: int) -> ContainerVenue:
    """:param name: of its network and control groups, new on this machine. :raise Failed: `cgroup_unavailable`, `program_failed`."""
    async with AsyncExitStack() as undo:
        folder.mkdir(mode=0o700, parents=True)
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        root = await undo.enter_async_context(hierarchy(folder.with_name(f"{folder.name}-groups")))
        groups = await make_groups(name, cpus, memory_mib, root)
        undo.push_async_callback(groups.close)
        undo.push_async_callback(_cut_cable, name)
        await _lay_cable(name)
        return ContainerVenue(tree, folder, name, groups, undo.pop_all())


async def _lay_cable(name: str) -> None:
    card = name[-15:]
    for words in (
        ("netns", "add", name),
        ("link", "add", card, "type", "veth", "peer", "name", "eth0", "netns", name),
        ("address", "add", f"{MACHINE_END}/30", "dev", card),
        ("link", "set", card, "up"),
        ("-netns", name, "address", "add", f"{CONTAINER_END}/30", "dev", "eth0"),
        ("-netns", name, "link", "set", "eth0", "up"),
        ("-netns", name, "link", "set", "lo", "up"),
    ):
        await shell.run(["ip", *words], timeout=_SECONDS)


async def _cut_cable(name: str) -> None:
    """The cable goes with the namespace."""
    await shell.run(["ip", "netns", "delete", name], timeout=_SECONDS, check=False)


async def _said(argv: Sequence[str], seconds: float) -> Said:
    ran = await shell.run(argv, timeout=seconds, check=False)
    return Said(code=ran.code, text=f"{ran.text}\n{ran.stderr.decode(errors='replace')}", complaint=ran.complaint)
