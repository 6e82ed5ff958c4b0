"""Experiments, as commands of `houyi tune`: a change of a VM's settings, tried and measured."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from houyi.cli.changed import told
from houyi.cli.output import Column, Format, Row, note, show_list, show_object, table_of, write_data
from houyi.cli.output import show as show_table
from houyi.cli.progress import follow
from houyi.cli.quantities import parse_pairs, show_age, show_seconds
from houyi.cli.session import OPTIONS, Options, Seconds, Waiting, connect, dig, everything
from houyi.cli.watch import watch_list
from houyi.model.errors import Invalid
from houyi.sdk.paths import path

Id = Annotated[str, Parameter(name="ID", help="Id of the experiment.")]
VmName = Annotated[str, Parameter(name="VM", help="Name or id of the VM.")]

LONG = Waiting(timeout=24 * 3600.0)
"""An experiment takes minutes to hours."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class What:
    """What is tried."""

    profile: Annotated[str | None, Parameter(help="The profile to try; '' for none.")] = None
    knob: Annotated[tuple[str, ...], Parameter(help="A knob to try, as NAME=VALUE; may be given several times.", negative=())] = ()
    keep: Annotated[bool, Parameter(help="Keep the change if it is better on the main measure and worse on none.", negative=())] = False
    restart: Annotated[
        bool, Parameter(help="Allow that the VM is stopped and started before every other run: for what takes effect at a start only.", negative=())
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class How:
    """How it is measured."""

    workload: Annotated[
        str,
        Parameter(
            help="A command in the guest, run by the guest's agent without a shell (say sh -c for one). Its last line may be a number, "
            'the work done, or JSON: {"work": 1000, "latency_us": {"p99": 410}}.'
        ),
    ] = ""
    observe: Annotated[Seconds, Parameter(help="Look at what runs in the guest for this long, each run.", show_default=False)] = 0.0
    at_most: Annotated[Seconds, Parameter(help="How long one run of the workload may take.")] = 300.0
    runs: Annotated[int | None, Parameter(help="At most: 2 to warm up, then 4 a block; 14 or more. Without it 34.")] = None
    measure: Annotated[str, Parameter(help="What decides, such as exits_per_second; without it the most telling measure that there is.")] = ""
    settle: Annotated[Seconds, Parameter(help="How long the guest is left alone between a change of its settings and a run.")] = 5.0


WHAT, HOW = What(), How()


def _body(what: What, how: How) -> dict[str, Any]:
    """As the API takes it. :raise Invalid: `knob_malformed`, `workload_missing`."""
    if bool(how.workload) == (how.observe > 0):
        raise Invalid("workload_missing", "say how to measure: --workload COMMAND, or --observe TIME to look at what runs there")
    try:
        knobs = parse_pairs(what.knob)
        command = shlex.split(how.workload)
    except ValueError as wrong:
        raise Invalid("knob_malformed" if not how.workload else "argument_malformed", str(wrong)) from None
    given = {
        "profile": what.profile,
        "knobs": knobs or None,
        "command": command or None,
        "seconds": how.observe or how.at_most,
        "runs": how.runs,
        "measure": how.measure or None,
        "keep": what.keep or None,
        "restart": what.restart or None,
        "settle_seconds": how.settle,
    }
    return {key: value for key, value in given.items() if value is not None}


def try_settings(name: VmName, /, *, what: What = WHAT, how: How = HOW, waiting: Waiting = LONG, options: Options = OPTIONS) -> None:
    """Try a profile or knobs on a VM: runs with and without them in turn (A B B A ...), until it is clear whether they help.

    The VM ends with the settings that it had before, unless they helped and --keep was said.
    """
    body = _body(what, how)
    with connect(options) as api:
        operation = follow(api, api.request("POST", path("vms", name, "experiments"), body=body), waiting, f"try on {name}")
        found = [one for one in everything(api, path("experiments"), vm=str(operation["target_id"])) if one["operation_id"] == operation["id"]]
        one = api.request("GET", path("experiments", str(found[-1]["id"]))) if found else operation
    if options.output is not Format.TABLE or not found:
        write_data(one, options.output if options.output is not Format.TABLE else Format.JSON)
        return
    if not waiting.wait:
        note(f"experiment {one['id']}: `houyi tune show {one['id']}`")
        return
    _show(one)


def columns(now: float) -> Sequence[Column]:
    return (
        Column("ID", lambda one: str(one["id"])),
        Column("VM", lambda one: str(one["vm_name"])),
        Column("CHANGE", _change),
        Column("STATE", lambda one: str(one["state"]), paint=True),
        Column("RUNS", lambda one: f"{dig(one, 'runs_made', 0)}/{dig(one, 'runs_max', 0)}", right=True),
        Column("VERDICT", lambda one: str(dig(one, "verdict.verdict") or "-").replace("_", " ")),
        Column("KEPT", lambda one: "yes" if one.get("kept") else "no"),
        Column("AGE", lambda one: show_age(one["created_at"], now), right=True),
    )


def _change(one: Row) -> str:
    before, change = dig(one, "before", {}), dig(one, "change", {})
    had = dig(before, "knobs", {})
    parts = [f"profile {dig(change, 'profile') or 'none'}"] if dig(change, "profile") != dig(before, "profile") else []
    return ", ".join(parts + [f"{name}={value}" for name, value in sorted(dig(change, "knobs", {}).items()) if had.get(name) != value])


def list_experiments(
    *,
    open_only: Annotated[bool, Parameter(name="--open", negative=(), help="Only what has not ended.")] = False,
    vm: Annotated[str, Parameter(help="Only with this VM (name or id).")] = "",
    watch: Annotated[bool, Parameter(negative=(), help="Stay and show every change as it happens; with -o json one object a line.")] = False,
    options: Options = OPTIONS,
) -> None:
    """List experiments, oldest first."""
    with connect(options) as api:
        vm_id = str(api.request("GET", path("vms", vm))["id"]) if vm else None
        asked: dict[str, str | Sequence[str] | None] = {"vm": vm_id, "open": "true" if open_only else None}
        if watch:
            watch_list(api, path("experiments"), columns, options.output, asked)
        else:
            show_list(everything(api, path("experiments"), **asked), columns(time.time()), options.output, empty="no experiments: `houyi tune try VM ...`")


def show(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Show an experiment: where it stands, and what it says so far, measure by measure."""
    with connect(options) as api:
        one = api.request("GET", path("experiments", number))
    if options.output is not Format.TABLE:
        write_data(one, options.output)
    else:
        _show(one)


def _show(one: Row) -> None:
    command = " ".join(dig(one, "command", []))
    facts = [
        ("id", str(one["id"])),
        ("vm", f"{one['vm_name']} ({one['vm_id']})"),
        ("change", _change(one)),
        ("measured by", command or f"observing for {show_seconds(dig(one, 'seconds', 0.0))}"),
        ("state", str(one["state"]) + (", cancellation asked" if one.get("cancelled") else "")),
        ("because", str(dig(one, "why"))),
        ("error", f"{dig(one, 'error.detail')} ({dig(one, 'error.code')})" if one.get("error") else ""),
        ("runs", f"{dig(one, 'runs_made', 0)} of at most {dig(one, 'runs_max', 0)}, {dig(one, 'runs_void', 0)} disturbed and made again"),
        ("restarts", "before every other run" if one.get("restart") else ""),
        ("verdict", str(dig(one, "verdict.verdict")).replace("_", " ")),
        ("says", str(dig(one, "verdict.why"))),
        ("settings", "the VM keeps the change" if one.get("kept") else "as they were before" if one.get("ended_at") else "on trial"),
        ("operation", str(dig(one, "operation_id"))),
        ("age", show_age(one["created_at"], time.time())),
    ]
    show_object(one, facts, Format.TABLE)
    units = {str(measure["name"]): str(measure["unit"]) for measure in one.get("measures") or ()}
    effects = [{**effect, "unit": units.get(str(effect["name"]), "")} for effect in dig(one, "verdict.effects", [])]
    if effects:
        show_table(table_of(effects, EFFECTS))


def _ratio(one: Row, key: str) -> str:
    value = one.get(key)
    return "?" if value is None else f"{value:.3f}"


EFFECTS: Sequence[Column] = (
    Column("MEASURE", lambda one: str(one["name"])),
    Column("WITHOUT", lambda one: f"{one['before']:.4g}", right=True),
    Column("WITH", lambda one: f"{one['after']:.4g}", right=True),
    Column("RATIO", lambda one: _ratio(one, "ratio"), right=True),
    Column("INTERVAL", lambda one: f"{_ratio(one, 'low')} .. {_ratio(one, 'high')}", right=True),
    Column("VERDICT", lambda one: str(one["verdict"]).replace("_", " ")),
    Column("UNIT", lambda one: str(one["unit"])),
)


def cancel(number: Id, /, *, options: Options = OPTIONS) -> None:
    """Measure no more; the VM gets back the settings that it had before."""
    with connect(options) as api:
        told(api.request("POST", path("experiments", number, "cancel")), f"experiment {number} is being cancelled", options)


def report(
    number: Id, /, *, out: Annotated[Path, Parameter(help="The folder to write into; it is made if it is not there.")], options: Options = OPTIONS
) -> None:
    """Write an experiment down to keep: report.html, one page with its plots in it, and experiment.json, all figures."""
    from houyi.cli.experiment_report import write_report

    with connect(options) as api:
        one = api.request("GET", path("experiments", number))
    page = write_report(one, out)
    told(one, f"written: {page}", options)
