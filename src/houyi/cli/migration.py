"""`houyi migration`, and `houyi vm migrate`: moves of VMs from host to host."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli.changed import told
from houyi.cli.output import Column, Format, Row, note, show_list, show_object, write_data
from houyi.cli.progress import follow
from houyi.cli.quantities import moment, show_age, show_bytes, show_seconds
from houyi.cli.session import OPTIONS, WAITING, Options, Waiting, connect, dig, everything, noun
from houyi.cli.watch import watch_list
from houyi.model.vm import MigrationPolicy
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

app = noun("migration", "Moves of VMs from host to host: see whether and how one would go, how far they are, what became of them.")

Id = Annotated[str, Parameter(name="ID", help="Id of the migration.")]
VmName = Annotated[str, Parameter(name="VM", help="Name or id of the VM.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class How:
    """Options about one move; what is not given is as the VM's own settings say."""

    to: Annotated[str, Parameter(help="Name or id of the host to move it to, for administrators; without it the platform chooses.")] = ""
    policy: Annotated[MigrationPolicy | None, Parameter(help="gentle: never slow the guest down; fast: as soon as possible; auto: gentle, but converge.")] = (
        None
    )
    downtime_ms: Annotated[int | None, Parameter(help="For how long the guest may stand still, in milliseconds.")] = None
    postcopy: Annotated[bool | None, Parameter(help="Whether post-copy may be used, which always converges, but can lose the guest.")] = None
    bandwidth_mib_s: Annotated[float | None, Parameter(help="Cap in MiB a second; without it none.")] = None
    priority: Annotated[int | None, Parameter(help="Higher goes first; for administrators.")] = None

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        given = {
            "to": self.to or None,
            "policy": self.policy,
            "downtime_ms_max": self.downtime_ms,
            "postcopy": self.postcopy,
            "bandwidth_mib_s_max": self.bandwidth_mib_s,
            "priority": self.priority,
        }
        return {key: value for key, value in given.items() if value is not None}


HOW = How()


def _span(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 100 else show_seconds(seconds)


def show_result(of: Row | None) -> str:
    """'12.3s, 61ms still': the whole time, and for how long the guest stood still from its stop until it went on, of a forecast or an outcome.

    One that its user had stopped or paused does not stand still because of the move.
    """
    if not of:
        return "-"
    span, still = _span(dig(of, "total_seconds", 0.0)), dig(of, "gap_ms", 0.0) or dig(of, "downtime_ms", 0.0)
    if dig(of, "mode") == "cold":
        return f"{span}, stopped"
    return f"{span}, {still:.0f}ms still" if still else f"{span}, paused"


def columns(now: float) -> Sequence[Column]:
    return (
        Column("ID", lambda one: str(one["id"])),
        Column("VM", lambda one: str(one["vm_name"])),
        Column("FROM", lambda one: str(dig(one, "source_name") or dig(one, "source_id"))),
        Column("TO", lambda one: str(dig(one, "destination_name") or dig(one, "destination_id"))),
        Column("STATE", lambda one: str(one["state"]), paint=True),
        Column("DONE", lambda one: f"{dig(one, 'progress', 0.0):.0%}", right=True),
        Column("MODE", lambda one: str(dig(one, "outcome.mode") or dig(one, "forecast.mode") or "-")),
        Column("TOOK", lambda one: show_result(one.get("outcome"))),
        Column("EXPECTED", lambda one: show_result(one.get("forecast"))),
        Column("AGE", lambda one: show_age(one["created_at"], now), right=True),
    )


@app.command(name="list")
def list_migrations(
    *,
    open_only: Annotated[bool, Parameter(name="--open", negative=(), help="Only what has not ended.")] = False,
    vm: Annotated[str, Parameter(help="Only of this VM (name or id).")] = "",
    host: Annotated[str, Parameter(help="Only those that lead from or to this host (name or id).")] = "",
    watch: Annotated[bool, Parameter(negative=(), help="Stay and show every change as it happens; with -o json one object a line.")] = False,
    options: Options = OPTIONS,
) -> None:
    """List moves, oldest first: what was expected of each, and what became of it."""
    with connect(options) as api:
        vm_id = str(api.request("GET", path("vms", vm))["id"]) if vm else None
        asked: dict[str, str | Sequence[str] | None] = {"vm": vm_id, "host": host or None, "open": "true" if open_only else None}
        if watch:
            watch_list(api, path("migrations"), columns, options.output, asked)
        else:
            show_list(everything(api, path("migrations"), **asked), columns(time.time()), options.output, empty="no migrations")


@app.command
def show(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Show a move: where it stands, what was expected of it, and what became of it."""
    with connect(options) as api:
        one = api.request("GET", path("migrations", number))
    figures, outcome, ended = one.get("figures"), one.get("outcome"), one.get("ended_at")
    facts = [
        ("id", str(one["id"])),
        ("vm", f"{one['vm_name']} ({one['vm_id']})"),
        ("kind", str(one["kind"])),
        ("from", _host(one, "source")),
        ("to", _host(one, "destination")),
        ("state", str(one["state"])),
        ("progress", f"{dig(one, 'progress', 0.0):.0%}"),
        ("stage", str(dig(one, "stage"))),
        ("because", str(dig(one, "why"))),
        ("error", f"{dig(one, 'error.detail')} ({dig(one, 'error.code')})" if one.get("error") else ""),
        ("asked by", str(dig(one, "reason")) + (", cancellation asked" if one.get("cancelled") else "")),
        ("terms", _terms(dig(one, "terms", {}))),
        ("memory", _memory(figures) if figures else ""),
        ("expected", show_result(one.get("forecast")).removeprefix("-")),
        ("expected because", str(dig(one, "forecast.why"))),
        ("took", show_result(outcome).removeprefix("-")),
        ("guest's gap", f"{dig(outcome, 'gap_ms', 0.0):.0f}ms" if dig(outcome, "gap_ms", 0.0) else ""),
        ("sent", _mib(dig(outcome, "sent_mib", 0.0)) if outcome else ""),
        ("rounds", str(dig(outcome, "rounds"))),
        ("mode", str(dig(outcome, "mode"))),
        ("operation", str(dig(one, "operation_id"))),
        ("ended after", show_seconds(moment(ended) - moment(one["created_at"])) if ended else ""),
        ("age", show_age(one["created_at"], time.time())),
    ]
    show_object(one, facts, options.output)


def _host(one: Row, end: str) -> str:
    name = str(dig(one, f"{end}_name") or dig(one, f"{end}_id"))
    seen = one.get(end)
    if not seen:
        return name
    return f"{name}: {seen['presence']}, {seen['order'].replace('_', ' ')}{'' if dig(seen, 'heard', True) else '; not heard of since'}"


def _terms(terms: Row) -> str:
    told = [
        f"policy {dig(terms, 'policy')}",
        f"at most {dig(terms, 'downtime_ms_max', 0.0):.0f}ms still",
        f"{show_seconds(dig(terms, 'seconds_max', 0.0))} in all",
    ]
    told.append("encrypted" if dig(terms, "encrypted", True) else "NOT ENCRYPTED")
    return ", ".join(told + (["post-copy allowed"] if dig(terms, "postcopy", False) else []))


def _memory(figures: Row) -> str:
    left, rate = _mib(dig(figures, "memory_remaining_mib", 0.0)), dig(figures, "bandwidth_mib_s", 0.0)
    return f"{left} left, sent {_mib(dig(figures, 'memory_sent_mib', 0.0))}, {rate:.0f} MiB/s, round {dig(figures, 'rounds', 0)}"


def _mib(mib: float) -> str:
    return show_bytes(mib * 2**20)


@app.command
def cancel(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Stop a move as long as the VM lives at its source, where it goes on."""
    with connect(options) as api:
        told(api.request("POST", path("migrations", number, "cancel")), f"migration {number} is being cancelled", options)


@app.command
def plan(name: VmName, /, *, how: How = HOW, options: Options = OPTIONS) -> None:
    """Say where a VM would go and how, and everything that stands against it; nothing is moved."""
    with connect(options) as api:
        one = api.request("POST", path("vms", name, "migrate"), body=how.body(), params={"dry_run": True})
    blockers = dig(one, "blockers", [])
    forecast = one.get("forecast")
    facts = [
        ("vm", str(one["vm_name"])),
        ("verdict", "it cannot be moved" if blockers else "it can be moved"),
        *(("blocked", f"{blocker['detail']} ({blocker['code']})") for blocker in blockers),
        ("kind", str(one["kind"])),
        ("from", str(dig(one, "source_name") or "no host")),
        ("to", str(dig(one, "destination_name") or "no host")),
        ("terms", _terms(dig(one, "terms", {}))),
        ("expected", show_result(forecast).removeprefix("-")),
        ("converges", ("yes" if forecast["converges"] else "no: it would be given up") if forecast else ""),
        ("mode", str(dig(forecast, "mode"))),
        ("because", str(dig(forecast, "why"))),
    ]
    show_object(one, facts, options.output)


def migrate(
    name: Annotated[str, Parameter(help="Name or id of the VM.")], /, *, how: How = HOW, waiting: Waiting = WAITING, options: Options = OPTIONS
) -> None:
    """Move a VM to another host while it runs; a stopped one with its disk."""
    with connect(options) as api:
        operation = follow(api, api.request("POST", path("vms", name, "migrate"), body=how.body()), waiting, f"migrate {name}")
        _tell(api, operation, waiting, name, options)


def _tell(api: "Transport", operation: dict[str, Any], waiting: Waiting, name: str, options: Options) -> None:
    if options.output is not Format.TABLE:
        write_data(operation, options.output)
    elif waiting.wait:
        vm = api.request("GET", path("vms", str(operation["target_id"])))
        note(f"{name} is {vm['state']} on {dig(vm, 'host_name') or dig(vm, 'host_id')}")
