"""`houyi host report`: what a host can do for VMs and what costs performance there, with what it means and what to do."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli.output import Row, note, show_object
from houyi.cli.session import OPTIONS, Options, connect
from houyi.model.errors import NotFound
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

SHORT = 3
"""Pieces of advice that `houyi host show` has room for."""


def report(name: Annotated[str, Parameter(help="Name or id of the host.")], /, *, options: Options = OPTIONS) -> None:
    """What a host can do for VMs and what costs performance there: what was found, what it means, and what to do, the most useful advice first."""
    with connect(options) as api:
        told = api.request("GET", path("hosts", name, "report"))
    show_object(told, [(str(item["name"]), in_words(item)) for item in told["items"]], options.output)
    advised = sum(bool(item["advice"]) for item in told["items"])
    note(f"host {told['host_name']}: {advised or 'no'} thing{'' if advised == 1 else 's'} to do, as of {told['at']}")


def in_words(item: Row) -> str:
    """What was found, below it what it means, below that what to do."""
    return "\n".join(filter(None, (str(item["value"]), str(item["meaning"]), f"-> {item['advice']}" if item.get("advice") else "")))


def in_short(api: "Transport", name: str) -> str:
    """The most useful advice for a host, a line each; '' where there is none, or no report yet."""
    try:
        items: list[dict[str, Any]] = api.request("GET", path("hosts", name, "report"))["items"]
    except NotFound:
        return ""
    advised = [item for item in items if item["advice"]]
    lines = [f"{item['name']}: {item['value']} -> {item['advice']}" for item in advised[:SHORT]]
    if len(advised) > SHORT:
        lines.append(f"and {len(advised) - SHORT} more: houyi host report {name}")
    return "\n".join(lines)
