"""`houyi placement`: why a VM goes where it goes, or nowhere."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.output import Column, Format, Row, show, show_object, table_of
from houyi.cli.session import OPTIONS, Options, connect, dig, noun
from houyi.sdk.paths import path

app = noun("placement", "Where VMs go, and why: which filter took which host out, and how the others score.")

LOOKS: Sequence[Column] = (
    Column("HOST", lambda look: str(dig(look, "host_name") or dig(look, "host_id"))),
    Column("VERDICT", lambda look: "chosen" if look.get("chosen") else str(dig(look, "removed_by")) or "possible"),
    Column("SCORE", lambda look: "-" if dig(look, "removed_by") else f"{dig(look, 'total', 0.0):.2f}", right=True),
    Column("WHY", lambda look: str(dig(look, "why")) or _scores(look)),
)


def _scores(look: Row) -> str:
    return " + ".join(f"{name} {score:.2f}" for name, score in dig(look, "scores", {}).items() if score)


@app.command
def explain(
    vm: Annotated[str, Parameter(name="VM", help="Name or id of the VM.")],
    /,
    *,
    options: Options = OPTIONS,
) -> None:
    """Show where a VM would be placed now, and why; administrators see every host."""
    with connect(options) as api:
        answer = api.request("GET", path("vms", vm, "placement"))
    show_placement(answer, [("name", vm), ("is on", str(dig(answer, "at_host_name") or dig(answer, "at_host_id") or "no host"))], options)


def show_placement(answer: Row, facts: Sequence[tuple[str, str]], options: Options) -> None:
    """A choice of the API: as it is, or what is known beforehand, the choice in short, and the hosts one by one."""
    told = [
        *facts,
        ("would go to", str(dig(answer, "host_name") or dig(answer, "host_id") or "no host")),
        ("why not", str(dig(answer, "why_not"))),
        ("asks for", _amounts(dig(answer, "asked", {}))),
        ("left at most", _amounts(dig(answer, "left", {}))),
        ("taken out by", ", ".join(f"{name}: {count}" for name, count in dig(answer, "removed", {}).items() if count)),
    ]
    show_object(answer, told, options.output)
    if options.output is Format.TABLE and answer.get("hosts"):
        show("")
        show(table_of(answer["hosts"], LOOKS))


def _amounts(amounts: Row) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items())
