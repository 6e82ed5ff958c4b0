"""What every command shares: the options that all have, and the way to the API.

Commands speak to the API in its own JSON, so that `-o json` prints exactly what the API answered, also fields that this CLI does not know yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, Token

from houyi.cli.output import Format
from houyi.cli.quantities import parse_disk_gib, parse_memory_mib, parse_seconds, show_seconds
from houyi.sdk.credentials import URL_VARIABLE, find_login

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options:
    """Options of every command."""

    output: Annotated[Format, Parameter(alias="-o", help="table for people; json or yaml: exactly what the API answered.")] = Format.TABLE
    api_url: Annotated[
        str,
        Parameter(name="--api-url", env_var=URL_VARIABLE, help="The server; by default the one of `houyi login`, else this machine's own.", show_default=False),
    ] = ""
    project: Annotated[
        str, Parameter(env_var="HOUYI_PROJECT", help="The project to act in, for administrators; by default the token's own.", show_default=False)
    ] = ""


OPTIONS = Options()


def _shown_default(value: object) -> str | None:
    """A default as help says it; nothing for what is empty, off or left to the server."""
    if value is None or value is False or value in ("", ()):
        return None
    return str(value)


def noun(name: str, text: str) -> App:
    """The sub-app of a noun, with what all nouns have in common."""
    return App(name=name, help=text, default_parameter=Parameter(show_default=_shown_default))


def _seconds(kind: type, tokens: Sequence[Token]) -> float:
    return parse_seconds(tokens[0].value)


def _memory(kind: type, tokens: Sequence[Token]) -> int:
    return parse_memory_mib(tokens[0].value)


def _disk(kind: type, tokens: Sequence[Token]) -> int:
    return parse_disk_gib(tokens[0].value)


Seconds = Annotated[float, Parameter(converter=_seconds, metavar="TIME", show_default=show_seconds)]
MemoryMib = Annotated[int, Parameter(converter=_memory, metavar="SIZE")]
DiskGib = Annotated[int, Parameter(converter=_disk, metavar="SIZE")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Waiting:
    """Options of commands that start an operation."""

    wait: Annotated[bool, Parameter(help="Stay until it is done, with its progress on stderr.")] = True
    timeout: Annotated[Seconds, Parameter(help="How long to stay at most; the operation goes on afterwards.")] = 600.0


WAITING = Waiting()


def connect(options: Options) -> "Transport":
    """A connection to the API as the user who is logged in. :raise Unauthenticated: nobody is."""
    from houyi.sdk.transport import Transport  # httpx2 takes as long to import as everything else together

    login = find_login(options.api_url)
    return Transport(login.url, login.token, project=options.project)


def everything(api: "Transport", where: str, **params: str | int | bool | Sequence[str] | None) -> list[dict[str, Any]]:
    """All items of a list, whatever the number of pages. None leaves a parameter out."""
    known = {name: value for name, value in params.items() if value is not None}
    return [item for page in api.pages(where, params=known) for item in page["items"]]


def dig(row: Any, dotted: str, default: Any = "") -> Any:
    """The value at 'spec.labels' of a JSON object; `default` where something on the way is missing or null."""
    for part in dotted.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return default if row is None else row
