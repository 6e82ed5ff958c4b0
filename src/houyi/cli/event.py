"""`houyi event`: what happened, in order."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from houyi.cli.output import Column, Format, Row, console_on, show_list, table_of, write_line
from houyi.cli.session import OPTIONS, Options, connect, dig, everything, noun
from houyi.cli.watch import news
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

app = noun("event", "What happened to VMs, images and hosts: never altered, oldest first.")

COLUMNS: Sequence[Column] = (
    Column("WHEN", lambda event: when(event["at"])),
    Column("KIND", lambda event: str(event["kind"])),
    Column("TARGET", lambda event: str(dig(event, "target_name") or event["target_id"])),
    Column("WHAT", lambda event: str(dig(event, "detail"))),
    Column("BY", lambda event: str(dig(event, "actor") or "-")),
)


def when(at: str) -> str:
    """The moment on this machine's clock, to the second."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@app.command(name="list")
def list_events(
    *,
    target: Annotated[str, Parameter(help="Only those of this VM, image or host (its id).")] = "",
    kind: Annotated[str, Parameter(help="Only this kind, such as vm.state.")] = "",
    options: Options = OPTIONS,
) -> None:
    """List events, oldest first."""
    with connect(options) as api:
        show_events(api, options, target=target, kind=kind)


@app.command
def watch(
    *,
    target: Annotated[str, Parameter(help="Only those of this VM, image or host (its id).")] = "",
    kind: Annotated[str, Parameter(help="Only this kind, such as vm.state.")] = "",
    options: Options = OPTIONS,
) -> None:
    """Show events as they happen, until interrupted; with -o json one a line."""
    with connect(options) as api:
        show_events(api, options, watch=True, target=target, kind=kind)


def show_events(api: "Transport", options: Options, *, watch: bool = False, target: str = "", kind: str = "") -> None:
    """What there is, or (watching) what comes from now on."""
    params = {name: value for name, value in {"target": target, "kind": kind}.items() if value}
    if not watch:
        show_list(everything(api, path("events"), **params), COLUMNS, options.output, empty="no events")
        return
    for event in news(api, path("events"), params):
        _show_one(event, options)


def _show_one(event: Row, options: Options) -> None:
    if options.output is not Format.TABLE:
        write_line(event)
        return
    import sys

    line = table_of([event], COLUMNS)
    line.show_header = False
    console_on(sys.stdout).print(line)
