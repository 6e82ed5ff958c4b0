"""Following an operation: a bar with stages on a terminal, a line for each stage elsewhere, all on stderr."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from houyi.cli.output import clean, console_on, note
from houyi.cli.session import Waiting, dig
from houyi.model.errors import Failed, Unavailable
from houyi.model.operation import ENDED

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

_ENDED = frozenset(state.value for state in ENDED)
_LOOK_SECONDS = 2.0
"""How long one look waits for the end at the server: the bar moves at least this often."""
_GUEST_SECONDS = 0.5
AWAY_SECONDS = 60.0
"""A server that is upgraded or falls over is back within this."""


class Shown(Protocol):
    """Something that shows how far an operation is."""

    def update(self, share: float, stage: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Lines:
    """One line a stage, where nobody watches a bar move."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = ""

    def update(self, share: float, stage: str) -> None:
        if stage and stage != self._last:
            note(f"{self._title}: {clean(stage)}")
            self._last = stage

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class Bar:
    """A bar on the terminal, which goes away when it is done."""

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.fields[stage]}"))
        self._progress = Progress(*columns, console=console_on(sys.stderr), transient=True)
        self._task = self._progress.add_task(title, total=1.0, stage="")

    def update(self, share: float, stage: str) -> None:
        self._progress.update(self._task, completed=share, stage=clean(stage), refresh=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def shown(title: str) -> Shown:
    return Bar(title) if sys.stderr.isatty() else Lines(title)


def follow(api: "Transport", operation: dict[str, Any], waiting: Waiting, title: str) -> dict[str, Any]:
    """Stay with an operation until it ends (unless told not to), and answer its last state.

    :raise Failed: with the operation's own code, or `operation_cancelled`. :raise Unavailable: `wait_timeout`.
    """
    number = str(operation["id"])
    if not waiting.wait:
        note(f"{title}: {operation['state']}; see `houyi operation show {number}`")
        return operation
    deadline = time.monotonic() + waiting.timeout
    try:
        with shown(title) as bar:
            while operation["state"] not in _ENDED:
                bar.update(float(operation.get("progress") or 0.0), _stage(operation))
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Unavailable("wait_timeout", f"{title} is not done after {waiting.timeout:.0f} s but goes on: `houyi operation wait {number}`")
                operation = _next(api, operation, min(_LOOK_SECONDS, left), bar)
            bar.update(1.0, "")
    except KeyboardInterrupt:
        note(f"{title} goes on: `houyi operation wait {number}` to stay with it, `houyi operation cancel {number}` to stop it where that is possible")
        raise
    return _ended(operation, title)


def _next(api: "Transport", operation: dict[str, Any], seconds: float, bar: Shown) -> dict[str, Any]:
    """How far it is now. A server that is started again meanwhile takes the operation up where it was: it is waited for, and so are we.

    :raise Unavailable: it does not answer for AWAY_SECONDS.
    """
    end = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return dict(api.request("GET", f"/v1/operations/{operation['id']}", params={"wait": round(seconds, 2)}))
        except Unavailable:
            if time.monotonic() >= end:
                raise
            bar.update(float(operation.get("progress") or 0.0), "the server does not answer: trying again")
            time.sleep(_GUEST_SECONDS)


def _stage(operation: dict[str, Any]) -> str:
    blocked = operation.get("blocked_on") or ""
    return f"waits for {blocked}" if blocked else str(operation.get("stage") or "")


def _ended(operation: dict[str, Any], title: str) -> dict[str, Any]:
    if operation["state"] == "failed":
        code, detail = dig(operation, "error.code", "operation_failed"), dig(operation, "error.detail", "it failed without saying why: see the server's log")
        raise Failed(code, f"{title}: {detail}")
    if operation["state"] == "cancelled":
        raise Failed("operation_cancelled", f"{title}: it was cancelled: ask for it again if it is still wanted")
    return operation


def until(look: Callable[[], bool], waiting: Waiting, title: str, stage: str) -> None:
    """Look again and again until it is so. :raise Unavailable: `wait_timeout`."""
    deadline = time.monotonic() + waiting.timeout
    try:
        with shown(title) as bar:
            while not look():
                bar.update(0.0, stage)
                if time.monotonic() >= deadline:
                    raise Unavailable("wait_timeout", f"{title}: {stage} took longer than {waiting.timeout:.0f} s: look at `houyi vm show` and `houyi vm log`")
                time.sleep(_GUEST_SECONDS)
    except KeyboardInterrupt:
        note(f"{title}: no longer waited for, but nothing was stopped")
        raise
