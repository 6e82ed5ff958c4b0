"""`houyi operation`: what is under way, and what has ended."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.changed import told
from houyi.cli.output import Column, Row, show_list, show_object
from houyi.cli.progress import follow
from houyi.cli.quantities import moment, show_age, show_seconds
from houyi.cli.session import OPTIONS, Options, Seconds, Waiting, connect, dig, everything, noun
from houyi.sdk.paths import path

app = noun("operation", "Things that take time: see how far they are, wait for them, cancel them.")

Id = Annotated[str, Parameter(name="ID", help="Id of the operation.")]


def columns(now: float) -> Sequence[Column]:
    return (
        Column("ID", lambda operation: str(operation["id"])),
        Column("VERB", lambda operation: str(operation["verb"])),
        Column("TARGET", lambda operation: f"{operation['target_kind']} {operation['target_id'][:8]}"),
        Column("STATE", lambda operation: str(operation["state"]), paint=True),
        Column("DONE", lambda operation: f"{dig(operation, 'progress', 0.0):.0%}", right=True),
        Column("STAGE", lambda operation: str(dig(operation, "error.code") or dig(operation, "stage") or "-")),
        Column("AGE", lambda operation: show_age(operation["created_at"], now), right=True),
    )


@app.command(name="list")
def list_operations(
    *,
    open_only: Annotated[bool, Parameter(name="--open", negative=(), help="Only what has not ended.")] = False,
    target: Annotated[str, Parameter(help="Only those on this VM or image (its id).")] = "",
    options: Options = OPTIONS,
) -> None:
    """List operations, oldest first."""
    with connect(options) as api:
        rows = everything(api, path("operations"), target=target or None, open=True if open_only else None)
    show_list(rows, columns(time.time()), options.output, empty="no operations")


@app.command
def show(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Show an operation."""
    with connect(options) as api:
        _show(api.request("GET", path("operations", number)), options)


def _show(operation: Row, options: Options) -> None:
    ended = operation.get("ended_at")
    facts = [
        ("id", str(operation["id"])),
        ("verb", str(operation["verb"])),
        ("target", f"{operation['target_kind']} {operation['target_id']}"),
        ("state", str(operation["state"])),
        ("progress", f"{dig(operation, 'progress', 0.0):.0%}"),
        ("stage", str(dig(operation, "stage"))),
        ("waits for", str(dig(operation, "blocked_on"))),
        ("error", f"{dig(operation, 'error.detail')} ({dig(operation, 'error.code')})" if operation.get("error") else ""),
        ("cancellable", "yes" if operation.get("cancellable") else "no"),
        ("took", show_seconds(moment(ended) - moment(operation["created_at"])) if ended else ""),
        ("age", show_age(operation["created_at"], time.time())),
    ]
    show_object(operation, facts, options.output)


@app.command
def wait(
    number: Id,
    /,
    *,
    timeout: Annotated[Seconds, Parameter(help="How long to stay at most; the operation goes on afterwards.")] = 600.0,
    options: Options = OPTIONS,
) -> None:
    """Stay until an operation has ended; fails as it did."""
    with connect(options) as api:
        operation = api.request("GET", path("operations", number))
        operation = follow(api, operation, Waiting(wait=True, timeout=timeout), str(operation["verb"]))
    told(operation, f"{operation['verb']}: done", options)


@app.command
def cancel(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Cancel an operation that can be."""
    with connect(options) as api:
        told(api.request("POST", path("operations", number, "cancel")), f"operation {number} is cancelled", options)
