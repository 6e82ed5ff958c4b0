"""`houyi vm top` and `houyi vm exits`: what VMs do, as their hosts count it."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli.output import Column, Format, Row, console_on, note, show, show_list, table_of, write_data
from houyi.cli.quantities import show_bytes
from houyi.cli.session import OPTIONS, Options, Seconds, connect, dig
from houyi.model.errors import Unavailable
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

Name = Annotated[str, Parameter(help="Name or id of the VM.")]
Plot = Annotated[Path | None, Parameter(help="Draw it into this file as well (.png, .svg or .pdf).", show_default=False)]

TCG = "runs under TCG: there are no VM exits"
NOTHING = "nothing was counted: no VM runs, or its host has not been heard of for a while"


class Order(StrEnum):
    CPU = "cpu"
    EXITS = "exits"
    STEAL = "steal"
    NAME = "name"


_KEYS: Mapping[Order, Callable[[Row], Any]] = {
    Order.CPU: lambda one: -one["cpu"],
    Order.EXITS: lambda one: -one["exits_s"],
    Order.STEAL: lambda one: -one["delay"],
    Order.NAME: lambda one: one["vm_name"],
}


def number(value: float) -> str:
    """Three digits are enough: '0', '0.25', '12.5', '340', '12k'."""
    if value >= 99_950:
        return f"{value / 1000:.0f}k"
    if value >= 99.95 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _kvm(name: str) -> Callable[[Row], str]:
    return lambda one: number(dig(one, f"exits.{name}", 0.0)) if one["kvm"] else "-"


def _sum(part: str, *names: str) -> Callable[[Row], float]:
    return lambda one: float(sum(item.get(name, 0.0) for item in one.get(part) or () for name in names))


def _mib(part: str, name: str) -> Callable[[Row], str]:
    total = _sum(part, name)
    return lambda one: show_bytes(total(one) * 2**20) if total(one) else "-"


def _number(part: str, *names: str) -> Callable[[Row], str]:
    total = _sum(part, *names)
    return lambda one: number(total(one)) if total(one) else "-"


TOP = (
    Column("NAME", lambda one: str(one["vm_name"])),
    Column("HOST", lambda one: str(one["host_name"])),
    Column("CPU", lambda one: f"{one['cpu']:.0%}", right=True),
    Column("STEAL", lambda one: f"{one['delay']:.1%}", right=True),
    Column("EXITS/S", _kvm("exits"), right=True),
    Column("HALT", _kvm("halt_exits"), right=True),
    Column("IO", _kvm("io_exits"), right=True),
    Column("MMIO", _kvm("mmio_exits"), right=True),
    Column("IRQ", _kvm("irq_exits"), right=True),
    Column("MEMORY", lambda one: show_bytes(dig(one, "memory.rss_mib", 0.0) * 2**20), right=True),
    Column("READ/S", _mib("disks", "read_mib_s"), right=True),
    Column("WRITE/S", _mib("disks", "write_mib_s"), right=True),
    Column("IN/S", _mib("nics", "received_mib_s"), right=True),
    Column("OUT/S", _mib("nics", "sent_mib_s"), right=True),
    Column("DROPS/S", _number("nics", "received_drops_s", "sent_drops_s", "received_errors_s", "sent_errors_s"), right=True),
)


def top(
    *,
    host: Annotated[str, Parameter(help="Only VMs on this host (name or id).")] = "",
    sort: Annotated[Order, Parameter(help="What the first row has most of; name: by name.")] = Order.CPU,
    every: Annotated[Seconds, Parameter(help="How often to look; hosts count every 10 s unless their settings say otherwise.")] = 5.0,
    once: Annotated[bool, Parameter(negative=(), help="Show it once and end, as it is done for programs and where there is no terminal.")] = False,
    options: Options = OPTIONS,
) -> None:
    """What all VMs do, live: CPU, steal, VM exits a second, disks, networks."""

    def look(api: "Transport") -> list[Row]:
        rows: list[Row] = api.request("GET", path("telemetry"), params={"host": host or None})["items"]
        return sorted(rows, key=_KEYS[sort])

    with connect(options) as api:
        if once or options.output is not Format.TABLE or not sys.stdout.isatty():
            show_list(look(api), TOP, options.output, empty=NOTHING)
        else:
            _live(lambda: look(api), every)


def _live(look: Callable[[], Sequence[Row]], every: float) -> None:
    """Until interrupted; a server that goes away is looked for again."""
    from rich.live import Live

    with Live(console=console_on(sys.stdout), auto_refresh=False, screen=False) as live:
        while True:
            try:
                live.update(table_of(look(), TOP), refresh=True)
            except Unavailable as error:
                note(f"lost the server ({error.code}): trying again")
            time.sleep(max(0.2, every))


def exits(
    name: Name,
    /,
    *,
    by_reason: Annotated[bool, Parameter(negative=(), help="Trace them now: by reason, with the time spent outside the guest.")] = False,
    seconds: Annotated[float, Parameter(help="With --by-reason: for how long, at most 60.")] = 10.0,
    since: Annotated[Seconds, Parameter(help="Without --by-reason: how far back to look.")] = 3600.0,
    plot: Plot = None,
    options: Options = OPTIONS,
) -> None:
    """The VM exits of a VM, a second: now, and over its history; or by reason, traced now."""
    if by_reason:
        _by_reason(name, seconds, plot, options)
        return
    after = datetime.fromtimestamp(time.time() - since, UTC).isoformat()
    with connect(options) as api:
        history = api.request("GET", path("vms", name, "telemetry"), params={"since": after})
    if options.output is not Format.TABLE:
        write_data(history, options.output)
    elif not history["items"]:
        note(f"{name}: nothing was counted: it does not run, or it has just been started")
    else:
        _tell(name, history["items"])
    if plot is not None:
        from houyi.cli.plots import plot_history

        plot_history(history, plot)
        note(f"drawn into {plot}")


def _by_reason(name: str, seconds: float, plot: Path | None, options: Options) -> None:
    with connect(options) as api:
        if options.output is Format.TABLE:
            note(f"looking at {name} for {seconds:g} s")
        found = api.request("POST", path("vms", name, "exits"), body={"seconds": seconds})
    if options.output is not Format.TABLE:
        write_data(found, options.output)
    else:
        show(table_of(found["reasons"], REASONS))
        if found["registers"]:
            show(table_of(found["registers"], REGISTERS))
        note(f"{found['count']} exits in {found['seconds']:.2f} s, {number(found['count_s'])} a second ({found['virtualization']})")
        if found["dropped"]:
            note(f"warning: {found['dropped']} exits of the host found no place in the kernel's table: this is not all")
    if plot is not None:
        from houyi.cli.plots import plot_reasons

        plot_reasons(found, plot)
        note(f"drawn into {plot}")


def nanoseconds(value: float) -> str:
    """'850 ns', '12.5 µs', '3.1 ms', '2.0 s'."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} ns"


REASONS = (
    Column("REASON", lambda row: str(row["reason"])),
    Column("EXITS", lambda row: str(row["count"]), right=True),
    Column("/S", lambda row: number(row["count_s"]), right=True),
    Column("OUTSIDE", lambda row: nanoseconds(row["outside_ns"]), right=True),
    Column("MEAN", lambda row: nanoseconds(row["mean_ns"]), right=True),
)
REGISTERS = (
    Column("REGISTER", lambda row: str(row["register_use"])),
    Column("EXITS", lambda row: str(row["count"]), right=True),
    Column("/S", lambda row: number(row["count_s"]), right=True),
)


def _tell(name: str, items: Sequence[Row]) -> None:
    last = items[-1]
    if not last["kvm"]:
        note(f"{name} {TCG}")
    rows = [{"name": "cpu", "unit": "CPUs", **_figures([one["cpu"] for one in items])}]
    rows.append({"name": "steal", "unit": "share", **_figures([one["delay"] for one in items])})
    names = sorted({kind for one in items for kind in one["exits"]}, key=lambda kind: -sum(one["exits"].get(kind, 0.0) for one in items))
    rows += [{"name": kind, "unit": "ns/s" if kind.endswith("_ns") else "/s", **_figures([one["exits"].get(kind, 0.0) for one in items])} for kind in names]
    show(table_of(rows, HISTORY))


def _figures(values: Sequence[float]) -> dict[str, float]:
    return {"now": values[-1], "mean": sum(values) / len(values), "most": max(values)}


def _figure(which: str) -> Callable[[Row], str]:
    return lambda row: number(row[which])


HISTORY = (
    Column("COUNTED", lambda row: str(row["name"])),
    Column("NOW", _figure("now"), right=True),
    Column("MEAN", _figure("mean"), right=True),
    Column("MOST", _figure("most"), right=True),
    Column("UNIT", lambda row: str(row["unit"])),
)
