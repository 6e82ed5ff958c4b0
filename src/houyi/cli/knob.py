"""`houyi tune list`, `show`, `profiles` and `vm`."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.output import Column, Format, Row, note, show_list, show_object
from houyi.cli.quantities import show_pairs
from houyi.cli.session import OPTIONS, Options, connect, dig, everything
from houyi.model.tuning import Scope, Subject
from houyi.sdk.paths import path

NOT_MEASURED = "not by us"

_SOURCES = {"own": "the VM", "profile": "its profile", "host_profile": "its host's profile"}
_TAKES = {"live": "at once", "next_start": "next start", "next_load": "next load of the module"}


def show_takes(takes: str) -> str:
    return _TAKES.get(takes, takes)


def _values(knob: Row) -> str:
    listed = "|".join(str(choice["value"]) for choice in dig(knob, "choices", []))
    numbers = dig(knob, "numbers", None)
    return "|".join(part for part in (listed, f"{numbers['least']}..{numbers['most']} {numbers['unit']}" if numbers else "") if part)


def _state(one: Row) -> str:
    if dig(one, "why_not"):
        return f"left out: {one['why_not']}"
    return "in force" if one["in_force"] else f"takes effect: {show_takes(one['takes'])}"


KNOBS: Sequence[Column] = (
    Column("KNOB", lambda knob: str(knob["name"])),
    Column("OF", lambda knob: str(knob["scope"])),
    Column("CHANGES", lambda knob: ", ".join(dig(knob, "changes", []))),
    Column("TAKES EFFECT", lambda knob: show_takes(knob["takes"])),
    Column("VALUES", _values),
    Column("DEFAULT", lambda knob: str(knob["default"])),
    Column("MEASURED", lambda knob: "yes" if dig(knob, "measured") else "no"),
)

SETTINGS: Sequence[Column] = (
    Column("KNOB", lambda one: str(one["knob"])),
    Column("ASKED", lambda one: str(one["value"])),
    Column("BY", lambda one: _SOURCES.get(str(one["source"]), str(one["source"]))),
    Column("RUNNING", lambda one: str(dig(one, "running") or "-")),
    Column("STATE", _state),
)


def list_knobs(
    *,
    subject: Annotated[Subject | None, Parameter(help="Only those about this.")] = None,
    scope: Annotated[Scope | None, Parameter(help="Only those of VMs, or of hosts.")] = None,
    options: Options = OPTIONS,
) -> None:
    """List everything that can be tuned."""
    with connect(options) as api:
        rows = everything(api, path("knobs"))
    kept = [row for row in rows if subject in (None, row["subject"]) and scope in (None, row["scope"])]
    show_list(kept, KNOBS, options.output, empty="no such knobs")


def show(name: Annotated[str, Parameter(help="Name of the knob.")], /, *, options: Options = OPTIONS) -> None:
    """Show what a knob does, what it needs and risks, and whether it was measured."""
    with connect(options) as api:
        knob = api.request("GET", path("knobs", name))
    facts = [
        ("name", str(knob["name"])),
        ("of", str(knob["scope"])),
        ("what", str(knob["what"])),
        ("changes", ", ".join(dig(knob, "changes", []))),
        ("takes effect", show_takes(knob["takes"])),
        ("set by", str(knob["means"])),
        *((f"{choice['value']}", _choice(choice)) for choice in dig(knob, "choices", [])),
        *(_numbers(knob["numbers"]) if knob.get("numbers") else ()),
        ("default", str(knob["default"])),
        ("risk", str(dig(knob, "risk"))),
        ("in the guest", str(dig(knob, "guest"))),
        ("measured", str(dig(knob, "measured") or NOT_MEASURED)),
    ]
    show_object(knob, facts, options.output)


def _choice(choice: Row) -> str:
    return f"{choice['what']}{_needs(choice)}"


def _numbers(numbers: Row) -> list[tuple[str, str]]:
    return [("or", f"{numbers['least']} to {numbers['most']} {numbers['unit']}{_needs(numbers)}")]


def _needs(spec: Row) -> str:
    needs = ", ".join(dig(spec, "needs", []))
    return f" (needs {needs})" if needs else ""


def profiles(*, options: Options = OPTIONS) -> None:
    """List profiles: named sets of settings, for VMs, VM types and hosts."""
    with connect(options) as api:
        rows = everything(api, path("profiles"))
    columns = (
        Column("PROFILE", lambda one: str(one["name"])),
        Column("WHAT", lambda one: str(one["what"])),
        Column("ON VMS", lambda one: show_pairs(one["vm"])),
        Column("ON HOSTS", lambda one: show_pairs(one["host"])),
        Column("RISK", lambda one: str(dig(one, "risk") or "-")),
    )
    show_list(rows, columns, options.output, empty="")


def vm(name: Annotated[str, Parameter(help="Name or id of the VM.")], /, *, options: Options = OPTIONS) -> None:
    """Show what a VM is asked to run with, by whom, and what it runs with."""
    with connect(options) as api:
        tuning = api.request("GET", path("vms", name, "tuning"))
    if options.output is not Format.TABLE:
        show_object(tuning, [], options.output)
        return
    show_list(tuning["settings"], SETTINGS, options.output, empty=f"nothing is asked of {name}: see `houyi tune profiles` and `houyi tune list`")
    asked = {one["knob"] for one in tuning["settings"]}
    others = {knob: value for knob, value in tuning["tuned"].items() if knob not in asked}
    if others:
        note(f"it also runs with {show_pairs(others)}, which nobody asked for: its CPU model has it, or an earlier change waits for its next start")


def advise(
    name: Annotated[str, Parameter(help="Name or id of the VM.")],
    /,
    *,
    seconds: Annotated[float | None, Parameter(help="Trace its exits by reason for so long, at most 60; without it: by what has been counted.")] = None,
    options: Options = OPTIONS,
) -> None:
    """Show what could be tuned for what a VM does, the most useful first. Whether it helps, `houyi tune try` measures."""
    with connect(options) as api:
        where = path("vms", name, "advice")
        answer = api.request("GET", where) if seconds is None else api.request("POST", where, body={"seconds": seconds})
    if options.output is not Format.TABLE:
        show_object(answer, [], options.output)
        return
    columns = (
        Column("TRY", lambda one: f"{one['knob']}={one['value']}"),
        Column("OF", lambda one: str(one["scope"])),
        Column("AGAINST", lambda one: f"{one['symptom']} {one['share']:.0%}".replace("_", " ")),
        Column("AT BEST", lambda one: f"-{one['gain']:.0%}", right=True),
        Column("BECAUSE", lambda one: str(one["why"])),
        Column("RISK", lambda one: str(dig(one, "risk") or "-")),
    )
    show_list(answer["advice"], columns, options.output, empty=_no_advice(name, answer))


def _no_advice(name: str, answer: Row) -> str:
    if not dig(answer, "seconds", 0.0):
        return f"nothing has been counted of {name} yet: it does not run, or has just been started"
    if not dig(answer, "exits_s", 0.0):
        return f"{name} makes no VM exits: it is emulated, or does nothing at all"
    return f"{name} makes {answer['exits_s']:.0f} exits a second, and no knob that is open addresses them: `houyi vm exits {name}` says what they are"
