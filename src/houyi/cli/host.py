"""`houyi host`: the machines that VMs run on."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from houyi.cli import join_token
from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.given import TUNING, Tuning, changed_pairs
from houyi.cli.host_report import in_short, report
from houyi.cli.output import Column, Format, Row, note, show_list, show_object, write_data
from houyi.cli.progress import follow
from houyi.cli.quantities import show_age, show_bytes, show_gib, show_mib, show_pairs
from houyi.cli.session import OPTIONS, WAITING, Options, Waiting, connect, dig, everything, noun
from houyi.model.errors import Invalid
from houyi.model.host import CLOCK_SKEW_SECONDS_MAX, clock_in_words
from houyi.sdk.paths import path

app = noun("host", "The machines that VMs run on: see what they can do, cordon, drain, label, let new ones join.")

STALLED_LEAST = 0.01
"""Of the time; less is not worth a word."""
CLOCK_OFF = ": set it right, and keep it so (chrony, systemd-timesyncd)"

Name = Annotated[str, Parameter(help="Name or id of the host.")]


def _share(host: Row, resource: str) -> str:
    return f"{dig(host, f'claimed.{resource}', 0)}/{dig(host, f'capacity.{resource}', 0)}"


def _memory(host: Row) -> str:
    return f"{show_mib(dig(host, 'claimed.memory_mib', 0))}/{show_mib(dig(host, 'capacity.memory_mib', 0))}"


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda host: str(host["name"])),
        Column("STATE", lambda host: str(host["state"]), paint=True),
        Column("ACCELERATOR", lambda host: str(dig(host, "facts.accelerator.accelerator") or "-")),
        Column("VMS", lambda host: str(dig(host, "load.vms_running", "-")), right=True),
        Column("VCPUS", lambda host: _share(host, "vcpu"), right=True),
        Column("MEMORY", _memory, right=True),
        Column("LOAD", lambda host: str(dig(host, "load.load1", "-")), right=True),
        Column("SEEN", lambda host: show_age(host.get("last_seen_at"), now), right=True),
    )


@app.command(name="list")
def list_hosts(*, options: Options = OPTIONS) -> None:
    """List hosts; claimed/there of vCPUs and memory."""
    with connect(options) as api:
        rows = everything(api, path("hosts"))
    show_list(rows, columns(time.time()), options.output, empty="no hosts: `houyi host join-token` lets one join")
    for host in rows:
        if (clock := _clock(host)).endswith(CLOCK_OFF):
            note(f"warning: the clock of host {host['name']} is {clock}")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show what a host is and can do: its accelerator with the reason, what a VM exit costs there, and the most useful advice of its report."""
    with connect(options) as api:
        host = api.request("GET", path("hosts", name))
        advice = in_short(api, name) if options.output is Format.TABLE else ""
    facts = [
        ("name", str(host["name"])),
        ("id", str(host["id"])),
        ("state", str(host["state"])),
        ("drain", f"operation {host['drain_id']}" if host.get("drain_id") else ""),
        ("accelerator", str(dig(host, "facts.accelerator.accelerator"))),
        ("because", str(dig(host, "facts.accelerator.reason"))),
        ("VM exit", exits(dig(host, "facts.accelerator.exit_ns", {}))),
        ("to do", advice),
        ("cpu", f"{dig(host, 'facts.cpus')} x {dig(host, 'facts.cpu_model')}" if host.get("facts") else ""),
        ("guests' cpu", _guest_cpu(host)),
        ("cpu features", ", ".join(dig(host, "facts.cpu_features", []))),
        ("memory", _bytes(host, "facts.memory_mib", show_mib)),
        ("disk", _bytes(host, "facts.disk_gib", show_gib)),
        ("numa nodes", "; ".join(f"{node['number']}: {len(node['cpus'])} CPUs, {show_mib(node['memory_mib'])}" for node in dig(host, "facts.numa", []))),
        ("huge pages", ", ".join(f"{count} of {show_bytes(int(kib) * 1024)}" for kib, count in dig(host, "facts.hugepages", {}).items())),
        ("firmwares", ", ".join(dig(host, "facts.firmwares", []))),
        ("cpu models", f"{len(dig(host, 'facts.cpu_models', []))} by name" if dig(host, "facts.cpu_models") else ""),
        ("shared folders", ", ".join(sorted(dig(host, "facts.storages", {})))),
        ("qemu", str(dig(host, "facts.qemu_version"))),
        ("libvirt", str(dig(host, "facts.libvirt_version")) + ("" if dig(host, "load.libvirt_connected", True) else " (does not answer)")),
        ("kernel", str(dig(host, "facts.kernel"))),
        ("agent", str(dig(host, "facts.agent_version"))),
        ("VMs running", str(dig(host, "load.vms_running"))),
        ("vcpus claimed", _share(host, "vcpu")),
        ("memory claimed", _memory(host)),
        ("disk claimed", f"{show_gib(dig(host, 'claimed.disk_gib', 0))}/{show_gib(dig(host, 'capacity.disk_gib', 0))}"),
        ("load", str(dig(host, "load.load1"))),
        ("stalled", ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in dig(host, "load.stalled", {}).items() if share >= STALLED_LEAST)),
        ("pool", str(dig(host, "pool_name") or dig(host, "pool_id"))),
        ("profile", str(dig(host, "profile"))),
        ("own knobs", show_pairs(dig(host, "knobs", {}))),
        ("knobs now", show_pairs(dig(host, "tuned.values", {}))),
        ("knobs before", show_pairs(dig(host, "tuned.before", {}))),
        *(("not tuned", f"{knob}: {why}") for knob, why in dig(host, "tuned.problems", {}).items()),
        ("labels", show_pairs(dig(host, "labels", {}))),
        ("clock", _clock(host)),
        ("last seen", show_age(host.get("last_seen_at"), time.time())),
        ("age", show_age(host.get("created_at"), time.time())),
    ]
    show_object(host, facts, options.output)


app.command(report)


def _guest_cpu(host: Row) -> str:
    """'EPYC (AMD)': the most that guests can have."""
    cpu = dig(host, "facts.guest_cpu", None)
    vendor = f" ({cpu['vendor']})" if cpu and cpu["vendor"] else ""
    return f"{cpu['model']}{vendor}" if cpu else ""


def exits(by_kind: Row) -> str:
    """'cpuid 1200 ns, mmio 3400 ns'; empty where KVM does not run."""
    return ", ".join(f"{kind} {ns} ns" for kind, ns in sorted(by_kind.items()))


def _clock(host: Row) -> str:
    skew = dig(host, "load.clock_skew_seconds", None)
    return clock_in_words(skew) + (CLOCK_OFF if skew is not None and abs(skew) > CLOCK_SKEW_SECONDS_MAX else "")


def _bytes(host: Row, dotted: str, show_unit: Callable[[int], str]) -> str:
    value = dig(host, dotted, 0)
    return show_unit(value) if value else ""


@app.command
def cordon(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Let no new VMs come to a host; those that are there stay."""
    _change(name, {"cordoned": True}, f"host {name} takes no new VMs", options)


@app.command
def uncordon(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Let new VMs come to a host again; ends a drain."""
    _change(name, {"cordoned": False}, f"host {name} takes new VMs", options)


def drain_columns(_now: float) -> Sequence[Column]:
    return (
        Column("VM", lambda one: str(one["vm_name"])),
        Column("TO", lambda one: str(dig(one, "destination_name") or "stays")),
        Column("HOW", lambda one: str(dig(one, "forecast.mode") or dig(one, "kind") or "-")),
        Column("AFTER", lambda one: f"{one['begins_after_seconds']:.0f}s" if dig(one, "destination_id") else "-", right=True),
        Column("TAKES", lambda one: f"{dig(one, 'forecast.total_seconds', 0.0):.0f}s" if one.get("forecast") else "-", right=True),
        Column("BLOCKED", lambda one: "; ".join(f"{blocker['detail']} ({blocker['code']})" for blocker in dig(one, "blockers", [])) or "-"),
    )


@app.command
def drain(
    name: Name,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative=(), help="Only show the plan: where each VM would go, how long it takes, and what stands against it.")] = False,
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Move every VM of a host away, and let none come until `houyi host uncordon`. No VM is stopped; what cannot move is shown and stays."""
    table = options.output is Format.TABLE
    with connect(options) as api:
        plan = api.request("POST", path("hosts", name, "drain"), params={"dry_run": True}) if dry_run or table else {}
        if table:
            show_list(plan["vms"], drain_columns(time.time()), options.output, empty="")
            note(str(plan["summary"]))
        elif dry_run:
            write_data(plan, options.output)
        if dry_run:
            return
        operation = follow(api, api.request("POST", path("hosts", name, "drain")), waiting, f"drain {name}")
        if not table:
            write_data(operation, options.output)
        elif waiting.wait:
            note(f"host {name} is empty: it takes no VMs until `houyi host uncordon {name}`")


@app.command
def label(
    name: Name,
    labels: Annotated[tuple[str, ...], Parameter(help="KEY=VALUE sets a label, KEY- removes it.")],
    /,
    *,
    options: Options = OPTIONS,
) -> None:
    """Set and remove labels of a host."""
    if not labels:
        raise Invalid("nothing_to_change", "no label was given: KEY=VALUE sets one, KEY- removes it")
    with connect(options) as api:
        host = api.request("GET", path("hosts", name))
        kept = changed_pairs(labels, dig(host, "labels", {}))
        told(api.request("PATCH", path("hosts", name), body={"labels": kept}), f"host {name}: {show_pairs(kept)}", options)


@app.command(name="set")
def set_host(
    name: Name,
    /,
    *,
    pool: Annotated[
        str | None, Parameter(negative=(), help="The pool that it shall be in: new VMs there get the pool's CPU, those that run keep theirs.")
    ] = None,
    no_pool: Annotated[bool, Parameter(negative=(), help="Take it out of its pool.")] = False,
    tuning: Tuning = TUNING,
    options: Options = OPTIONS,
) -> None:
    """Put a host into a pool or take it out, and tune it. What is no longer asked of its knobs is put back as it was before."""
    if pool is not None and no_pool:
        raise Invalid("option_malformed", "either --pool NAME or --no-pool")
    body: dict[str, Any] = {"pool": pool or ""} if pool is not None or no_pool else {}
    if tuning.profile is not None:
        body["profile"] = tuning.profile
    with connect(options) as api:
        headers = {}
        if tuning.knob:
            host = api.request("GET", path("hosts", name))
            body["knobs"] = changed_pairs(tuning.knob, dig(host, "knobs", {}))
            headers = {"If-Match": f'"{host["revision"]}"'}
        if not body:
            raise Invalid("nothing_to_change", "say what to set: --pool NAME, --no-pool, --profile NAME or --knob KNOB=VALUE")
        told(api.request("PATCH", path("hosts", name), body=body, headers=headers), _set_text(name, body), options)


def _set_text(name: str, body: dict[str, Any]) -> str:
    said = []
    if "pool" in body:
        said.append(f"is in {'pool ' + body['pool'] if body['pool'] else 'no pool'}")
    if "profile" in body:
        said.append(f"has {'profile ' + body['profile'] if body['profile'] else 'no profile'}")
    if "knobs" in body:
        said.append(f"has {show_pairs(body['knobs']) or 'nothing'} of its own set")
    return f"host {name} {', '.join(said)}"


def _change(name: str, body: dict[str, bool], text: str, options: Options) -> None:
    with connect(options) as api:
        told(api.request("PATCH", path("hosts", name), body=body), text, options)


@app.command
def remove(
    name: Name,
    /,
    *,
    lost: Annotated[bool, Parameter(negative=(), help="Its machine will never run again: VMs that it was to delete are forgotten with it.")] = False,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False,
    options: Options = OPTIONS,
) -> None:
    """Forget a host without VMs; its certificate is refused from now on."""
    sure(f"remove host {name!r}{', whose machine will never run again' if lost else ''}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("hosts", name), params={"lost": lost}), f"host {name} is removed", options)


app.command(join_token.app)
