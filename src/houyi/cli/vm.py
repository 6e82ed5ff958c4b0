"""`houyi vm`: virtual machines. Creation is in vm_create.py, consoles in vm_console.py."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli import event
from houyi.cli.asking import sure
from houyi.cli.given import MOVES, TUNING, Moves, OnTrouble, Tuning, changed_pairs, labels_of, read_text
from houyi.cli.output import Column, Row, note, show_list, show_object, write_data
from houyi.cli.output import Format as Form
from houyi.cli.progress import follow
from houyi.cli.quantities import show_age, show_gib, show_mib, show_pairs, show_size
from houyi.cli.session import OPTIONS, WAITING, MemoryMib, Options, Seconds, Waiting, connect, dig, everything, noun
from houyi.cli.watch import watch_list
from houyi.model.errors import Invalid
from houyi.model.vm import EffectiveState, Firmware, RestartPolicy, StopMode
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

app = noun("vm", "Virtual machines: create, see, start, stop, open their consoles, delete.")

Name = Annotated[str, Parameter(help="Name or id of the VM.")]
Labels = Annotated[tuple[str, ...], Parameter(negative=(), help="KEY=VALUE; may be given several times.")]


def addresses(vm: Row) -> str:
    """What the platform gave, else what the guest reports."""
    given = [nic["address"] for nic in vm.get("nics") or () if nic.get("address")]
    return ", ".join(given or dig(vm, "guest_addresses", []))


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda vm: str(vm["name"])),
        Column("STATE", lambda vm: str(vm["state"]), paint=True),
        Column("ADDRESS", lambda vm: addresses(vm) or "-"),
        Column("HOST", lambda vm: str(dig(vm, "host_name") or dig(vm, "host_id") or "-")),
        Column("VCPUS", lambda vm: str(dig(vm, "vcpus")), right=True),
        Column("MEMORY", lambda vm: show_mib(dig(vm, "memory_mib", 0)), right=True),
        Column("DISK", lambda vm: show_gib(dig(vm, "disk_gib", 0)), right=True),
        Column("AGE", lambda vm: show_age(vm.get("created_at"), now), right=True),
    )


@app.command(name="list")
def list_vms(
    *,
    state: Annotated[EffectiveState | None, Parameter(help="Only VMs in this state.")] = None,
    host: Annotated[str, Parameter(help="Only VMs on this host (name or id).")] = "",
    label: Annotated[tuple[str, ...], Parameter(negative=(), help="Only VMs with this label: KEY or KEY=VALUE; may be given several times.")] = (),
    watch: Annotated[bool, Parameter(negative=(), help="Stay and show every change as it happens; with -o json one object a line.")] = False,
    options: Options = OPTIONS,
) -> None:
    """List VMs."""
    asked: dict[str, str | Sequence[str] | None] = {"state": state, "host": host or None, "label": label or None}
    with connect(options) as api:
        if watch:
            watch_list(api, path("vms"), columns, options.output, asked)
        else:
            rows = everything(api, path("vms"), **asked)
            show_list(rows, columns(time.time()), options.output, empty="no VMs: create one with `houyi vm create NAME --image IMAGE --type TYPE`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show everything about a VM."""
    with connect(options) as api:
        vm = api.request("GET", path("vms", name))
        migration = api.request("GET", path("migrations", vm["migration_id"])) if vm.get("migration_id") and options.output is Form.TABLE else None
        show_vm(vm, migration, options)


def show_vm(vm: Row, migration: Row | None, options: Options) -> None:
    now = time.time()
    error = f"{dig(vm, 'error.detail')} ({dig(vm, 'error.code')})" if vm.get("error") else ""
    facts = [
        ("name", str(vm["name"])),
        ("id", str(vm["id"])),
        ("state", str(vm["state"])),
        ("reason", str(dig(vm, "reason")).replace("_", " ")),
        ("stage", str(dig(vm, "stage"))),
        ("error", error),
        ("host", str(dig(vm, "host_name") or dig(vm, "host_id"))),
        ("moving", _moving(migration) if migration else ""),
        ("accelerator", str(dig(vm, "accelerator"))),
        ("image", str(dig(vm, "image_name") or dig(vm, "image_id"))),
        ("size", show_size(vm["vcpus"], vm["memory_mib"], vm["disk_gib"])),
        *(("nic", _nic(nic)) for nic in vm.get("nics") or ()),
        ("in the guest", ", ".join(dig(vm, "guest_addresses", []))),
        ("guest agent", str(dig(vm, "guest_agent"))),
        ("firmware", str(dig(vm, "firmware"))),
        ("video", "yes" if dig(vm, "video", True) else "no"),
        ("cpu model", str(dig(vm, "cpu_model"))),
        ("cpu features", ", ".join(dig(vm, "cpu_features", []))),
        ("profile", str(dig(vm, "profile"))),
        ("own knobs", show_pairs(dig(vm, "knobs", {}))),
        ("runs with", show_pairs(dig(vm, "tuned", {}))),
        ("restart policy", str(dig(vm, "restart_policy"))),
        ("on trouble", show_pairs(dig(vm, "on_trouble", {}))),
        ("restarts", str(dig(vm, "restarts") or "")),
        ("moves", _moves(vm)),
        ("protected", "yes" if vm.get("protected") else "no"),
        ("labels", show_pairs(dig(vm, "labels", {}))),
        ("placement group", str(dig(vm, "placement_group_name") or dig(vm, "placement_group_id"))),
        ("pool", str(dig(vm, "pool_name") or dig(vm, "pool_id"))),
        ("host labels", show_pairs(dig(vm, "host_labels", {}))),
        ("storage", str(dig(vm, "storage"))),
        ("running for", show_age(vm["started_at"], now) if vm.get("started_at") else ""),
        ("age", show_age(vm.get("created_at"), now)),
    ]
    show_object(vm, facts, options.output)


def _moving(migration: Row) -> str:
    to = dig(migration, "destination_name") or dig(migration, "destination_id")
    return f"to {to}, {migration['state']}, {dig(migration, 'progress', 0.0):.0%}: `houyi migration show {migration['id']}`"


def _moves(vm: Row) -> str:
    if not vm.get("migration_policy"):
        return ""
    return f"{vm['migration_policy']}, at most {dig(vm, 'downtime_ms_max', 0)}ms still{', post-copy allowed' if vm.get('postcopy') else ''}"


def _nic(nic: Row) -> str:
    return f"{dig(nic, 'address') or 'no fixed address'} on {dig(nic, 'network_name') or dig(nic, 'network_id')} ({dig(nic, 'mac')})"


@app.command
def start(name: Name, /, *, waiting: Waiting = WAITING, options: Options = OPTIONS) -> None:
    """Start a VM."""
    _say(name, "start", "start", waiting, options)


@app.command
def stop(
    name: Name,
    /,
    *,
    force: Annotated[bool, Parameter(negative=(), help="Power it off at once, without asking the guest.")] = False,
    grace: Annotated[Seconds, Parameter(help="How long the guest may take to shut down before it is powered off.")] = 60.0,
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Stop a VM: the power button first, forced after the grace period."""
    body = {"mode": StopMode.FORCE} if force else {"mode": StopMode.GRACEFUL, "grace_seconds": round(grace)}
    _say(name, "stop", "stop", waiting, options, body)


@app.command
def reboot(name: Name, /, *, waiting: Waiting = WAITING, options: Options = OPTIONS) -> None:
    """Ask the guest to reboot."""
    _say(name, "reboot", "reboot", waiting, options)


@app.command
def reset(name: Name, /, *, waiting: Waiting = WAITING, options: Options = OPTIONS) -> None:
    """Press the reset button: the guest is not asked."""
    _say(name, "reset", "reset", waiting, options)


@app.command
def pause(name: Name, /, *, waiting: Waiting = WAITING, options: Options = OPTIONS) -> None:
    """Freeze a VM where it is."""
    _say(name, "pause", "pause", waiting, options)


@app.command
def resume(name: Name, /, *, waiting: Waiting = WAITING, options: Options = OPTIONS) -> None:
    """Let a paused VM go on."""
    _say(name, "resume", "resume", waiting, options)


def _say(name: str, verb: str, title: str, waiting: Waiting, options: Options, body: dict[str, Any] | None = None) -> None:
    with connect(options) as api:
        operation = api.request("POST", path("vms", name, verb), body=body)
        _told(follow(api, operation, waiting, f"{title} {name}"), f"{title} {name}: done", waiting, options)


def _told(operation: dict[str, Any], text: str, waiting: Waiting, options: Options) -> None:
    if options.output is not Form.TABLE:
        write_data(operation, options.output)
    elif waiting.wait:
        note(text)


@app.command
def rename(name: Name, new: Annotated[str, Parameter(help="The new name.")], /, *, options: Options = OPTIONS) -> None:
    """Give a VM another name; the guest hears of it at its next start."""
    _change(name, {"name": new}, f"{name} is now {new}", options)


@app.command
def protect(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Protect a VM from deletion."""
    _change(name, {"protected": True}, f"{name} is protected from deletion", options)


@app.command
def unprotect(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Take the protection from deletion away."""
    _change(name, {"protected": False}, f"{name} may be deleted", options)


@app.command(name="set")
def set_vm(
    name: Name,
    /,
    *,
    label: Labels = (),
    remove_label: Annotated[tuple[str, ...], Parameter(negative=(), help="Key of a label that shall go; may be given several times.")] = (),
    restart_policy: Annotated[RestartPolicy | None, Parameter(help="What happens when the guest ends without being asked to.")] = None,
    vcpus: Annotated[int | None, Parameter(help="Number of virtual CPUs.")] = None,
    memory: Annotated[MemoryMib | None, Parameter(help="Such as 512MiB or 4GiB.")] = None,
    user_data: Annotated[str | None, Parameter(help="File with the new user-data ('-': stdin).")] = None,
    firmware: Annotated[Firmware | None, Parameter(help="What boots the disk.")] = None,
    video: Annotated[bool | None, Parameter(help="Whether it has a display, and so VNC.")] = None,
    cpu_model: Annotated[str | None, Parameter(help="A libvirt CPU model; '' for the host's default.")] = None,
    on_trouble: OnTrouble = (),
    moves: Moves = MOVES,
    tuning: Tuning = TUNING,
    options: Options = OPTIONS,
) -> None:
    """Change a VM. Labels, restart policy, what is said of moves and live knobs count at once, hardware at the next start."""
    changes: dict[str, Any] = {
        "restart_policy": restart_policy,
        "vcpus": vcpus,
        "memory_mib": memory,
        "user_data": None if user_data is None else read_text(user_data),
        "firmware": firmware,
        "video": video,
        "cpu_model": cpu_model,
        "profile": tuning.profile,
        **moves.body(),
    }
    body = {key: value for key, value in changes.items() if value is not None}
    with connect(options) as api:
        headers = {}
        if label or remove_label or tuning.knob or on_trouble:
            vm = api.request("GET", path("vms", name))
            if label or remove_label:
                body["labels"] = {key: value for key, value in {**dig(vm, "labels", {}), **labels_of(label)}.items() if key not in remove_label}
            if tuning.knob:
                body["knobs"] = changed_pairs(tuning.knob, dig(vm, "knobs", {}))
            if on_trouble:
                body["on_trouble"] = changed_pairs(on_trouble, dig(vm, "on_trouble", {}))
            headers = {"If-Match": f'"{vm["revision"]}"'}
        if not body:
            raise Invalid("nothing_to_change", "nothing to change was given: see `houyi vm set --help`")
        _changed(api.request("PATCH", path("vms", name), body=body, headers=headers), f"{name} is changed", options)


def _change(name: str, body: dict[str, Any], text: str, options: Options) -> None:
    with connect(options) as api:
        _changed(api.request("PATCH", path("vms", name), body=body), text, options)


def _changed(vm: dict[str, Any], text: str, options: Options) -> None:
    if options.output is Form.TABLE:
        note(text)
    else:
        write_data(vm, options.output)


@app.command
def delete(
    name: Name,
    /,
    *,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False,
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Power a VM off and remove it with its disk."""
    sure(f"delete VM {name!r} with its disk?", yes)
    with connect(options) as api:
        operation = api.request("DELETE", path("vms", name))
        _told(follow(api, operation, waiting, f"delete {name}"), f"{name} is deleted", waiting, options)


@app.command
def events(
    name: Name,
    /,
    *,
    watch: Annotated[bool, Parameter(negative=(), help="Stay and show what happens from now on.")] = False,
    options: Options = OPTIONS,
) -> None:
    """What happened to a VM, oldest first."""
    with connect(options) as api:
        vm_id = _id_of(api, name)
        event.show_events(api, options, watch=watch, target=vm_id)


def _id_of(api: "Transport", name: str) -> str:
    return str(api.request("GET", path("vms", name))["id"])


# Imported only when they are used: consoles need asyncio and websockets.
app.command("houyi.cli.vm_create:create", name="create")
app.command("houyi.cli.migration:migrate", name="migrate")
for _name in ("top", "exits"):
    app.command(f"houyi.cli.telemetry:{_name}", name=_name)
app.command("houyi.cli.latency:latency", name="latency")
for _name in ("console", "log", "vnc"):
    app.command(f"houyi.cli.vm_console:{_name}", name=_name)
