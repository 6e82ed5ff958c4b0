"""`houyi vm latency`: how long requests to a VM's disks take."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.output import Column, Format, Row, note, show, table_of, write_data
from houyi.cli.session import OPTIONS, Options, connect
from houyi.cli.telemetry import Name, Plot, nanoseconds, number
from houyi.sdk.paths import path


def latency(
    name: Name,
    /,
    *,
    seconds: Annotated[float, Parameter(help="For how long to look, at most 60.")] = 10.0,
    histogram: Annotated[bool, Parameter(negative=(), help="Show how many took how long, too.")] = False,
    plot: Plot = None,
    options: Options = OPTIONS,
) -> None:
    """How long requests to the disks of a VM take, from now on for some seconds, as QEMU counts them: half of them, 90 and 99 of 100."""
    with connect(options) as api:
        if options.output is Format.TABLE:
            note(f"looking at {name} for {seconds:g} s")
        found = api.request("POST", path("vms", name, "latency"), body={"seconds": seconds})
    if options.output is not Format.TABLE:
        write_data(found, options.output)
    elif not found["requests"]:
        note(f"{name} asked nothing of its disks in {found['seconds']:.0f} s")
    else:
        show(table_of(found["requests"], REQUESTS))
        if histogram:
            show(table_of([{"of": f"{one['disk']} {one['kind']}", **step} for one in found["requests"] for step in one["histogram"]], BINS))
    _draw(found, plot)


def _draw(found: Row, plot: Path | None) -> None:
    if plot is not None:
        from houyi.cli.plots import plot_latency

        plot_latency(found, plot)
        note(f"drawn into {plot}")


def milliseconds(value: float | None) -> str:
    return "more" if value is None else nanoseconds(value * 1e6)


REQUESTS = (
    Column("DISK", lambda row: str(row["disk"])),
    Column("KIND", lambda row: str(row["kind"])),
    Column("REQUESTS", lambda row: str(row["count"]), right=True),
    Column("/S", lambda row: number(row["count_s"]), right=True),
    Column("P50", lambda row: milliseconds(row["p50_ms"]), right=True),
    Column("P90", lambda row: milliseconds(row["p90_ms"]), right=True),
    Column("P99", lambda row: milliseconds(row["p99_ms"]), right=True),
    Column("AT MOST", lambda row: milliseconds(row["most_ms"]), right=True),
)
BINS = (
    Column("OF", lambda row: str(row["of"])),
    Column("LESS THAN", lambda row: milliseconds(row["to_ms"]), right=True),
    Column("REQUESTS", lambda row: str(row["count"]), right=True),
)
