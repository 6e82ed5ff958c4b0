"""Debian packages as a source of files: downloaded by this machine's own apt (its mirrors, its signatures) and unpacked, never installed.

It knows nothing of images. A download is kept in a cache folder by its file name, which holds the version: building again needs no network
as long as the archive's versions are the same.
"""

import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

from houyi.host import shell
from houyi.model.errors import Failed

_APT = ("-o", "APT::Sandbox::User=root", "-o", "Dir::State::status=/dev/null")
"""As root apt would hand the download to its own user, who cannot write into our cache; and what happens to be installed here does not matter."""
_DEPENDS = re.compile(r"^ (?P<alternative>[ |])(?:Pre)?Depends: (?P<name>[a-z0-9][a-z0-9.+-]*)$")
_URI = re.compile(r"^'[^']+' (?P<file>\S+) \d+ ", re.MULTILINE)
_SECONDS = 600.0
"""Longest that one apt or dpkg command may take: a kernel is 30 to 100 MB, on a slow line."""


async def needs(packages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every package of the closure of `packages` -> what it depends on (of alternatives, the first).

    :raise Failed: `package_missing`.
    """
    options = ("--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances")
    seen = await shell.run(["apt-cache", "depends", *options, *packages], timeout=60, check=False)
    graph: dict[str, list[str]] = {}
    current: list[str] = []
    after_alternative = False
    for line in seen.text.splitlines():
        if match := _DEPENDS.match(line):
            if not after_alternative:
                current.append(match["name"])
            after_alternative = match["alternative"] == "|"
        elif line and line[0] not in " |<":
            current = graph.setdefault(line.strip(), [])
            after_alternative = False
    if missing := [name for name in packages if name not in graph]:
        raise Failed("package_missing", f"apt does not know {', '.join(missing)}: run `apt-get update`, or correct this machine's apt sources")
    return {name: tuple(found) for name, found in graph.items()}


async def libraries(packages: Sequence[str]) -> tuple[str, ...]:
    """`packages` and all library packages (named lib... or zlib...) that they need."""
    graph = await needs(packages)
    found: dict[str, None] = {}
    waiting = list(packages)
    while waiting:
        name = waiting.pop(0)
        if name not in found and name in graph:
            found[name] = None
            waiting += [other for other in graph[name] if other.startswith(("lib", "zlib"))]
    return tuple(found)


async def download(packages: Iterable[str], cache: Path) -> tuple[Path, ...]:
    """The .deb files of `packages`, in that order, from `cache` or from the archive.

    :raise Failed: `package_missing`, `package_download_failed`.
    """
    names = list(packages)
    cache.mkdir(parents=True, exist_ok=True)
    asked = await shell.run(["apt-get", "download", "--print-uris", *_APT, *names], timeout=60, check=False)
    files = [cache / match["file"] for match in _URI.finditer(asked.text)]
    if asked.code != 0 or len(files) != len(names):
        raise Failed(
            "package_missing", f"apt cannot download {', '.join(names)}: run `apt-get update`, or correct this machine's apt sources ({asked.complaint})"
        )
    by_name = {_package(file): file for file in files}
    absent = [name for name in names if not by_name[name].exists()]
    if absent:
        got = await shell.run(["apt-get", "download", "-q", *_APT, *absent], timeout=_SECONDS, cwd=cache, check=False)
        if got.code != 0 or not all(by_name[name].exists() for name in absent):
            raise Failed("package_download_failed", f"apt could not download {', '.join(absent)}: look at the network and try again ({got.complaint})")
    return tuple(by_name[name] for name in names)


def _package(file: Path) -> str:
    return urllib.parse.unquote(file.name.split("_", 1)[0])


async def unpack(files: Iterable[Path], folder: Path) -> None:
    """Unpack .deb files over each other into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        await shell.run(["dpkg-deb", "-x", str(file), str(folder)], timeout=_SECONDS)
