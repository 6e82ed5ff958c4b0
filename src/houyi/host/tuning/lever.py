"""One knob of this machine: read, set, put back. Each kind of lever is for one way in which the kernel is set."""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from houyi.host.port_tuning import Before
from houyi.model.tuning import AUTO

MIXED = "mixed"
"""What is said of files that should be the same and are not."""


class Lever(Protocol):
    def read(self) -> str | None:
        """The value now, in the knob's words where it has one; None: this machine has no such thing. :raise OSError:"""
        ...

    def before(self) -> Before:
        """:raise OSError:"""
        ...

    def set(self, value: str) -> None:
        """:raise OSError: the kernel refused."""
        ...

    def restore(self, before: Before) -> None:
        """:raise OSError: the kernel refused."""
        ...


@dataclass(frozen=True, slots=True)
class FileLever:
    """Files that all hold the same: one of the kernel's, or one a CPU."""

    files: Callable[[], Iterable[Path]]
    words: Mapping[str, str] = field(default_factory=dict)
    """Value of the knob -> what is written; empty: the value itself."""

    def read(self) -> str | None:
        found = {_content(path) for path in self.files()}
        if not found:
            return None
        if len(found) > 1:
            return MIXED
        (now,) = found
        return next((value for value, word in self.words.items() if word == now), now)

    def before(self) -> Before:
        return {str(path): _content(path) for path in self.files()}

    def set(self, value: str) -> None:
        word = self.words.get(value, value)
        for path in self.files():
            _write(path, word)

    def restore(self, before: Before) -> None:
        """Only files that are ours to set: what was written down is trusted for contents, not for places."""
        for path in self.files():
            if str(path) in before:
                _write(path, before[str(path)])


@dataclass(frozen=True, slots=True)
class IdleLever:
    """Which idle states CPUs may enter: a file `disable` in the folder of each state of each CPU."""

    states: Callable[[], Iterable[Path]]
    latency_us_max: int
    """States that take longer to leave are the deep ones."""

    def read(self) -> str | None:
        found = {(self._deep(state), _content(state / "disable") != "0") for state in self.states()}
        if not found:
            return None
        if not any(off for _, off in found):
            return "all"
        return "shallow" if all(deep is off for deep, off in found) else MIXED

    def before(self) -> Before:
        return {str(state): _content(state / "disable") for state in self.states()}

    def set(self, value: str) -> None:
        for state in self.states():
            _write(state / "disable", "1" if value == "shallow" and self._deep(state) else "0")

    def restore(self, before: Before) -> None:
        for state in self.states():
            if str(state) in before:
                _write(state / "disable", before[str(state)])

    def _deep(self, state: Path) -> bool:
        return int(_content(state / "latency")) > self.latency_us_max


@dataclass(frozen=True, slots=True)
class ModuleLever:
    """A parameter that a module reads when it is loaded: a file of ours tells modprobe, what holds until then is the module's own."""

    module: str
    parameter: str
    loaded: Path
    """Where the loaded module shows the parameter."""
    options: Path
    """The file of ours among modprobe's."""
    words: Mapping[str, str]

    def read(self) -> str | None:
        if not self.loaded.exists():
            return None
        return "on" if _content(self.loaded) in ("1", "Y", "y") else "off"

    def before(self) -> Before:
        """A file of that name that somebody else has written."""
        with suppress(FileNotFoundError):
            return {"options": self.options.read_text()}
        return {}

    def set(self, value: str) -> None:
        wanted = f"options {self.module} {self.parameter}={self.words[value]}\n"
        with suppress(FileNotFoundError):
            if self.options.read_text() == wanted:
                return
        self.options.write_text(wanted)

    def restore(self, before: Before) -> None:
        if "options" in before:
            self.options.write_text(before["options"])
        else:
            self.options.unlink(missing_ok=True)


class DeviceLever:
    """A wish to the kernel that lasts as long as the device is held open: it ends with the process, and so needs no undo on disk."""

    def __init__(self, device: Path) -> None:
        self._device = device
        self._held: tuple[str, int] | None = None

    def read(self) -> str | None:
        if not self._device.exists():
            return None
        return AUTO if self._held is None else self._held[0]

    def before(self) -> Before:
        return {}

    def set(self, value: str) -> None:
        if self._held is not None and self._held[0] == value:
            return
        if value == AUTO:
            self.restore({})
            return
        new = os.open(self._device, os.O_WRONLY)
        try:
            os.write(new, struct.pack("=i", int(value)))
        except BaseException:
            os.close(new)
            raise
        self.restore({})
        self._held = (value, new)

    def restore(self, before: Before) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held[1])


def _content(path: Path) -> str:
    """Of a file with several words, one of them in brackets, that one."""
    text = path.read_text().strip()
    return text[text.index("[") + 1 : text.index("]")] if "[" in text and "]" in text else text


def _write(path: Path, word: str) -> None:
    """What is so already is not touched: some files do work at every write."""
    if _content(path) != word:
        path.write_text(word)
