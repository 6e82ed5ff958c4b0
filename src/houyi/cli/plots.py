"""Plots of what was counted, into files; matplotlib is loaded only here, and only when something is drawn."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from houyi.cli.quantities import moment
from houyi.model.errors import Failed, Invalid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS_MAX = 8
"""Lines that eyes can tell from each other."""
FORMATS = (".png", ".svg", ".pdf")


def new_figure(rows: int) -> "Figure":
    """:raise Failed: `plot_unavailable`: matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Failed("plot_unavailable", "plots need matplotlib: install it beside houyi (`pip install 'houyi[plot]'`)") from None
    return Figure(figsize=(10, 3.2 * rows), layout="constrained")


def save(figure: "Figure", file: Path) -> None:
    """:raise Invalid: `plot_format`. :raise Failed: `file_unwritable`."""
    if file.suffix not in FORMATS:
        raise Invalid("plot_format", f"{file} does not end in one of {', '.join(FORMATS)}: name it so that the format is clear")
    try:
        figure.savefig(file)
    except OSError as error:
        raise Failed("file_unwritable", f"cannot write {file}: {error.strerror}") from None


def plot_history(history: Mapping[str, Any], file: Path) -> None:
    """VM exits a second over time, by kind; below them the CPU and the steal. :param history: as the API answers it."""
    from datetime import UTC, datetime

    items = history["items"]
    figure = new_figure(2)
    above, below = figure.subplots(2, 1, sharex=True)
    times: Any = [datetime.fromtimestamp(moment(one["ended_at"]), UTC) for one in items]
    kinds = sorted(
        {kind for one in items for kind in one["exits"] if not kind.endswith("_ns")}, key=lambda kind: -sum(one["exits"].get(kind, 0.0) for one in items)
    )
    for kind in kinds[:KINDS_MAX]:
        above.plot(times, [one["exits"].get(kind, 0.0) for one in items], label=kind, linewidth=1.2)
    above.set_title(f"VM exits of {history['vm_name']}" if kinds else f"{history['vm_name']}: no VM exits were counted")
    above.set_ylabel("per second")
    above.set_ylim(bottom=0)
    below.plot(times, [one["cpu"] for one in items], label="CPUs used", linewidth=1.2)
    below.plot(times, [one["delay"] for one in items], label="steal (share)", linewidth=1.2)
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper right", fontsize="small")
    save(figure, file)


def plot_reasons(found: Mapping[str, Any], file: Path) -> None:
    """Exits by reason, and the time spent outside the guest for each. :param found: as the API answers it."""
    figure = new_figure(2)
    left, right = figure.subplots(1, 2, sharey=True)
    reasons = found["reasons"][: 2 * KINDS_MAX]
    places = range(len(reasons))
    left.barh(places, [one["count_s"] for one in reasons], color="tab:blue")
    left.set_yticks(places, [one["reason"] for one in reasons])
    left.invert_yaxis()
    left.set_xlabel("exits a second")
    left.set_title(f"VM exits of {found['vm_name']}, {found['seconds']:.0f} s")
    right.barh(places, [one["outside_ns"] / found["seconds"] / 1e6 for one in reasons], color="tab:orange")
    right.set_xlabel("ms outside the guest, a second")
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="x")
    save(figure, file)


def plot_latency(found: Mapping[str, Any], file: Path) -> None:
    """What share of requests took at most so long, of each kind to each disk. :param found: as the API answers it."""
    figure = new_figure(1)
    axes = figure.subplots()
    for one in found["requests"]:
        steps = [step for step in one["histogram"] if step["to_ms"] is not None]
        shares = list(accumulate(step["count"] / one["count"] for step in steps))
        axes.step([step["to_ms"] for step in steps], shares, where="post", label=f"{one['disk']} {one['kind']}, {one['count']}", marker=".")
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.set_ylabel("share of requests that took at most so long")
    axes.set_ylim(0, 1.02)
    axes.set_title(f"Disks of {found['vm_name']}, {found['seconds']:.0f} s")
    axes.grid(alpha=0.3)
    if found["requests"]:
        axes.legend(loc="lower right", fontsize="small")
    save(figure, file)
