"""The user's terminal in raw mode, and always back: after errors, signals and broken connections too."""

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_BACK = b"\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?2004l"
"""What a guest may have left behind: colours, a hidden cursor, mouse reports, bracketed paste."""


class Ended(SystemExit):
    """A signal asked us to end; the terminal is put back on the way out."""


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes through as it is; on the way out, whatever the way, the terminal is as it was."""
    before = termios.tcgetattr(descriptor)
    handled = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        if sys.stdout.isatty():
            os.write(sys.stdout.fileno(), _BACK + b"\r\n")
        for number, handler in handled.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(128 + number)
