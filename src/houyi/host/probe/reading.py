"""Reads of the kernel's files below a root that can be another machine's: bounded, never blocking; what cannot be read is None, with a reason."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

BYTES_MAX = 256 << 10
"""Of one file; /proc/cpuinfo and /proc/interrupts of a machine with hundreds of CPUs are longer, and their beginning says all that is asked."""
ENTRIES_MAX = 8192
"""Of one folder."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a machine. `unknown` gathers why something is not known, by trait."""

    root: Path = Path("/")
    unknown: dict[str, str] = field(default_factory=dict)

    def text(self, path: str, trait: str = "") -> str | None:
        """Without white space around it. :param trait: what is not known when it cannot be read; '': it is no loss."""
        try:
            return self.read(path).decode("utf-8", "replace").strip()
        except OSError as error:
            self.lost(trait, f"/{path}: {error.strerror or error}")
            return None

    def read(self, path: str, offset: int = 0, length: int = BYTES_MAX) -> bytes:
        """:raise OSError:"""
        descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            pieces, at = [], offset
            while at < offset + length and (piece := os.pread(descriptor, offset + length - at, at)):
                pieces.append(piece)
                at += len(piece)
            return b"".join(pieces)
        finally:
            os.close(descriptor)

    def number(self, path: str, trait: str = "") -> int | None:
        return self.parsed(path, int, trait)

    def flag(self, path: str, trait: str = "") -> bool | None:
        """Of a module's parameter: Y or N, or a number."""
        return self.parsed(path, _flag, trait)

    def parsed(self, path: str, parse: Callable[[str], T], trait: str = "") -> T | None:
        text = self.text(path, trait)
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, IndexError):
            self.lost(trait, f"/{path} says {text[:40]!r}")
            return None

    def chosen(self, path: str, trait: str = "") -> str | None:
        """The word in brackets: 'always [madvise] never'."""
        return self.parsed(path, lambda text: text.split("[", 1)[1].split("]", 1)[0], trait)

    def names(self, path: str) -> tuple[str, ...]:
        """Of the entries of a folder, sorted; empty where it cannot be listed."""
        found = []
        try:
            with os.scandir(self.root / path) as entries:
                for entry in entries:
                    found.append(entry.name)
                    if len(found) >= ENTRIES_MAX:
                        break
        except OSError:
            return ()
        return tuple(sorted(found))

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def link(self, path: str) -> str:
        """The last part of what a link points to; '' where there is none."""
        try:
            return (self.root / path).readlink().name
        except OSError:
            return ""

    def lost(self, trait: str, reason: str) -> None:
        if trait:
            self.unknown.setdefault(trait, reason[:200])


def _flag(text: str) -> bool:
    if text in ("Y", "N"):
        return text == "Y"
    return int(text) > 0
