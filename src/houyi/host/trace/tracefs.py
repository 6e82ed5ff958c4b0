"""A tracing instance of our own in tracefs: triggers, their tables, and how all of it goes away again.

Writing to a trigger file adds or removes one; opening it with truncation removes all of them silently, so files are only ever opened without it.
"""

import os
from contextlib import suppress
from pathlib import Path

from houyi.model.errors import Failed

MOUNTS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
INSTANCE = "houyi"
BUFFER_KIB = 4
"""Of each CPU: tables need no buffer, and the kernel's default is more than a megabyte."""
_STATES = (" [active]", " [paused]")


def find_tracefs(mounts: tuple[Path, ...] = MOUNTS) -> Path | None:
    """Where it is mounted; None: it is not, or this user may not see it."""
    for mount in mounts:
        with suppress(OSError):
            if (mount / "instances").is_dir():
                return mount
    return None


class Instance:
    """Ours, whether it is there or not."""

    def __init__(self, tracefs: Path, name: str = INSTANCE) -> None:
        self._tracefs = tracefs
        self.folder = tracefs / "instances" / name

    def make(self) -> None:
        """:raise Failed: `tracing_refused`."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _refused(self.folder, error) from error
        write(self.folder / "buffer_size_kb", str(BUFFER_KIB))

    def has_event(self, event: str) -> bool:
        """:param event: 'kvm/kvm_exit'."""
        return (self._tracefs / "events" / event).is_dir()

    def add_trigger(self, event: str, trigger: str) -> None:
        """:raise Failed: `tracing_refused`."""
        write(self._trigger_file(event), trigger)

    def triggers(self, event: str) -> tuple[str, ...]:
        """As they were added, but in the kernel's words."""
        with suppress(OSError):
            lines = self._trigger_file(event).read_text().splitlines()
            return tuple(_without_state(line) for line in lines if line and not line.startswith("#"))
        return ()

    def table(self, event: str) -> str:
        """:raise Failed: `tracing_refused`: it was removed by somebody else."""
        file = self.folder / "events" / event / "hist"
        try:
            return file.read_text()
        except OSError as error:
            raise _refused(file, error) from error

    def define_event(self, definition: str) -> None:
        """A synthetic event, which all instances see: its name is ours. :raise Failed: `tracing_refused`: this kernel has none."""
        write(self._tracefs / "synthetic_events", definition)

    def remove(self, events: tuple[str, ...], synthetic: str) -> None:
        """Everything of ours, as far as it is there: triggers in this order (those that use others' variables before them), the synthetic event, the instance.

        :raise Failed: `tracing_refused`: it would not go.
        """
        if self.folder.is_dir():
            for event in events:
                for trigger in self.triggers(event):
                    write(self._trigger_file(event), f"!{trigger}")
        if (self._tracefs / "events" / "synthetic" / synthetic).is_dir():
            write(self._tracefs / "synthetic_events", f"!{synthetic}")
        try:
            with suppress(FileNotFoundError):
                self.folder.rmdir()
        except OSError as error:
            raise _refused(self.folder, error) from error

    def _trigger_file(self, event: str) -> Path:
        return self.folder / "events" / event / "trigger"


def write(file: Path, text: str) -> None:
    """In one call, without truncation: that is how tracefs takes words. :raise Failed: `tracing_refused`."""
    try:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refused(file, error) from error


def _without_state(line: str) -> str:
    for state in _STATES:
        line = line.removesuffix(state)
    return line


def _refused(file: Path, error: OSError) -> Failed:
    return Failed(
        "tracing_refused", f"the kernel does not take what would count VM exits by reason ({file}: {error.strerror}): it needs CONFIG_HIST_TRIGGERS, and root"
    )
