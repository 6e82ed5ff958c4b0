"""An evaluation as a page to keep: what differs from place to place, by how much and how surely, every sample, and how it was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement

from houyi.cli.page import new_page, picture, say, whole, write_page
from houyi.cli.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
"""report.json: `model.evaluation.Evaluation`, field by field."""

COLOURS = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#66ccee", "#bbbb44", "#ee6677")
"""Paul Tol's, by place."""
EXIT_REASONS_MAX = 8
METHOD = (
    "Every benchmark is the same program from the same files in every place. Within a round a benchmark runs in all places one after the other, in random order, and a ratio is "
    "of one round. A ratio says how many times as good a place is as the reference, whether more or less of the unit is better: 1 is as good, 0.5 half as good. It is the "
    "geometric mean over rounds with Student's 95 % interval of its logarithm, for this one comparison. 'better' and 'worse' are said only of differences of more than 2 % that "
    "hold after Holm's correction for all comparisons of this page: the chance that any of them is wrong is 5 %. Otherwise it is 'no difference', which means: none that could "
    "be told. With fewer than three rounds nothing is said. What failed is shown as failed, and is in no figure."
)


def write_evaluation(report: Report, folder: Path) -> Path:
    """Write `report.json` and `report.html` into a folder. :return: the page. :raise Failed: `file_unwritable`, `plot_unavailable`."""
    return write_page(folder, "report.json", report, page_of(report))


def page_of(report: Report) -> bytes:
    """The whole page, UTF-8."""
    names = [str(place["name"]) for place in report["places"]]
    html, body = new_page(f"Evaluation: {', '.join(names)}")
    if report["emulated"]:
        say(body, "p", f"EMULATED: {report['emulated']}. ONLY COUNTS AND RATIOS MEAN ANYTHING HERE, NEVER TIMES.", **{"class": "warning"})
    _about(body, report)
    say(body, "h2", f"Beside {report['reference']}")
    _ratios(body, report)
    shown = [one for one in report["comparisons"] if one["ratio"] is not None]
    if shown:
        picture(body, _forest(report, shown), f"How many times as good as {report['reference']} each place is, with intervals, by benchmark")
    say(body, "h2", "What was measured")
    for group in dict.fromkeys(one["group"] for one in report["benchmarks"]):
        _group(body, report, str(group), names)
    say(body, "h2", "VM exits an operation")
    _exits(body, report)
    say(body, "h2", "Places")
    _places(body, report)
    say(body, "h2", "Commands")
    _commands(body, report)
    say(body, "h2", "Machine")
    _pairs(body, report["machine"])
    say(body, "p", METHOD, **{"class": "note"})
    return whole(html)


def _pairs(body: Element, pairs: Mapping[str, object]) -> None:
    table = SubElement(body, "table")
    for name, text in pairs.items():
        row = SubElement(table, "tr")
        say(row, "th", name)
        say(row, "td", str(text), **{"class": "text"})


def _about(body: Element, report: Report) -> None:
    failed = sum(1 for one in report["samples"] if one["error"])
    _pairs(
        body,
        {
            "places": ", ".join(str(place["name"]) for place in report["places"]),
            "rounds": f"{report['rounds']}, each program for {report['seconds']} s{' (quick: too short for small differences)' if report['quick'] else ''}",
            "runs": f"{len(report['samples'])}, of which {failed} failed",
            "host": report["host"] or "this machine, no VMs",
            "began, ended": f"{report['began_at']}, {report['ended_at']}",
            "Houyi, run, seed": f"{report['version']}, {report['id']}, {report['seed']}",
        },
    )


def _row(table: Element, cells: Sequence[tuple[str, str]], tag: str = "td") -> None:
    row = SubElement(table, "tr")
    for text, kind in cells:
        say(row, tag, text, **({"class": kind} if kind else {}))


def _values(report: Report, benchmark: str, place: str) -> list[float]:
    return [float(one["measured"]["value"]) for one in report["samples"] if (one["benchmark"], one["place"]) == (benchmark, place) and one["measured"]]


def _cell(report: Report, benchmark: str, place: str) -> tuple[str, str]:
    """The median of what was measured, or how often it failed."""
    found = _values(report, benchmark, place)
    failed = sum(1 for one in report["samples"] if (one["benchmark"], one["place"]) == (benchmark, place) and one["error"])
    if found:
        return f"{_shown(median(found))}{f' ({failed} failed)' if failed else ''}", ""
    return ("failed", "failed") if failed else ("not measured", "note")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _ratios(body: Element, report: Report) -> None:
    table = SubElement(body, "table")
    others = [str(place["name"]) for place in report["places"]][1:]
    _row(table, [(text, "") for text in ("benchmark", "unit", report["reference"], *others, *(f"{place}: ratio (95 %)" for place in others))], "th")
    by = {(one["benchmark"], one["place"]): one for one in report["comparisons"]}
    for benchmark in report["benchmarks"]:
        name = str(benchmark["name"])
        unit = f"{benchmark['unit']} ({benchmark['better']} is better)"
        cells = [(name, ""), (unit, "text"), *(_cell(report, name, place) for place in (report["reference"], *others))]
        _row(table, [*cells, *(_ratio(by[name, place]) for place in others)])


def _ratio(one: Mapping[str, Any]) -> tuple[str, str]:
    if one["ratio"] is None:
        return "-", "note"
    standing = str(one["standing"])
    if one["low"] is None:
        return f"{one['ratio']:.3g} (too few rounds)", "note"
    return f"{one['ratio']:.3g} ({one['low']:.3g} .. {one['high']:.3g}) {standing.replace('_', ' ')}", standing


def _colours(report: Report) -> dict[str, str]:
    return {str(place["name"]): COLOURS[number % len(COLOURS)] for number, place in enumerate(report["places"])}


def _forest(report: Report, shown: Sequence[Mapping[str, Any]]) -> "Figure":
    names = list(dict.fromkeys(str(one["benchmark"]) for one in shown))
    others = list(dict.fromkeys(str(one["place"]) for one in shown))
    figure = new_figure(max(1, (len(names) * len(others) + 14) // 15))
    axes = figure.subplots()
    colours = _colours(report)
    for number, place in enumerate(others):
        offset = (number - (len(others) - 1) / 2) * 0.8 / len(others)
        ones = [(names.index(str(one["benchmark"])) + offset, one) for one in shown if one["place"] == place]
        for row, one in ones:
            if one["low"] is not None:
                axes.plot([one["low"], one["high"]], [row, row], color=colours[place], linewidth=2)
        axes.plot([one["ratio"] for _, one in ones], [row for row, _ in ones], "o", markersize=4, color=colours[place], label=place)
    axes.axvline(1.0, color="#222222", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"times as good as {report['reference']} (logarithmic; right of the line is better)")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    return figure


def _group(body: Element, report: Report, group: str, places: Sequence[str]) -> None:
    """A plot of a group's benchmarks, and what each of them shows."""
    ours = [one for one in report["benchmarks"] if one["group"] == group]
    say(body, "h3", group)
    for one in ours:
        say(body, "p", f"{one['name']}: {one['shows']}. One operation is a {one['work']}.", **{"class": "note"})
    errors = [one for one in report["samples"] if one["error"] and one["benchmark"] in {benchmark["name"] for benchmark in ours}]
    for error in {(one["benchmark"], one["place"]): one for one in errors}.values():
        say(body, "p", f"{error['benchmark']} in {error['place']} failed: {error['error']}", **{"class": "failed"})
    measured = [one for one in ours if any(_values(report, str(one["name"]), place) for place in places)]
    if not measured:
        say(body, "p", "Nothing was measured.", **{"class": "failed"})
        return
    figure = new_figure(1)
    columns = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, one in zip(columns, measured, strict=True):
        _strips(axes, report, one, places)
    picture(body, figure, f"{group}: every round in every place; the bars are medians")


def _strips(axes: "Axes", report: Report, benchmark: Mapping[str, Any], places: Sequence[str]) -> None:
    colours = _colours(report)
    for row, place in enumerate(places):
        found = _values(report, str(benchmark["name"]), place)
        if found:
            axes.barh([row], [median(found)], height=0.5, color=colours[place], alpha=0.35)
            axes.plot(found, [row] * len(found), "o", markersize=4, color=colours[place])
        else:
            axes.text(0.02, row, _cell(report, str(benchmark["name"]), place)[0], transform=axes.get_yaxis_transform(), va="center", color="#cc3311")
    axes.set_yticks(range(len(places)), places)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_title(str(benchmark["name"]), fontsize="medium")
    axes.set_xlabel(f"{benchmark['unit']} ({benchmark['better']} is better)")
    axes.grid(alpha=0.3, axis="x")


def _exits(body: Element, report: Report) -> None:
    counted = [one for one in report["exits"] if not one["error"]]
    if report["exits_why"]:
        say(body, "p", f"None were counted: {report['exits_why']}.", **{"class": "note"})
    for one in report["exits"]:
        if one["error"]:
            say(body, "p", f"{one['benchmark']} in {one['place']}: {one['error']}", **{"class": "note"})
    if not counted:
        return
    table = SubElement(body, "table")
    _row(table, [(text, "") for text in ("benchmark", "place", "exits an operation", "exits a second", "most frequent reasons, an operation")], "th")
    for one in counted:
        reasons = sorted(one["reasons"].items(), key=lambda pair: -pair[1])[:EXIT_REASONS_MAX]
        told = ", ".join(f"{name} {count:.3g}" for name, count in reasons)
        _row(table, [(one["benchmark"], ""), (one["place"], "text"), (f"{one['per_operation']:.4g}", ""), (f"{one['exits_s']:.0f}", ""), (told, "text")])
    picture(body, _exit_bars(report, counted), "VM exits an operation, by benchmark and place")


def _exit_bars(report: Report, counted: Sequence[Mapping[str, Any]]) -> "Figure":
    names = list(dict.fromkeys(str(one["benchmark"]) for one in counted))
    places = list(dict.fromkeys(str(one["place"]) for one in counted))
    figure = new_figure(max(1, len(names) // 8))
    axes = figure.subplots()
    colours = _colours(report)
    height = 0.8 / len(places)
    for number, place in enumerate(places):
        ones = [one for one in counted if one["place"] == place and one["per_operation"] > 0]
        rows = [names.index(str(one["benchmark"])) + (number - (len(places) - 1) / 2) * height for one in ones]
        axes.barh(rows, [one["per_operation"] for one in ones], height=height, color=colours[place], label=place)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("VM exits an operation (logarithmic)")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _places(body: Element, report: Report) -> None:
    table = SubElement(body, "table")
    _row(table, [(text, "") for text in ("place", "CPUs", "memory", "what", "tuned to")], "th")
    for place in report["places"]:
        tuned = ", ".join(f"{name}={value}" for name, value in sorted(place["tuned"].items()))
        kind = f" ({place['accelerator']})" if place["accelerator"] else ""
        _row(table, [(place["name"], ""), (str(place["cpus"]), ""), (f"{place['memory_mib']} MiB", ""), (place["what"] + kind, "text"), (tuned, "text")])


def _commands(body: Element, report: Report) -> None:
    table = SubElement(body, "table")
    for one in report["benchmarks"]:
        row = SubElement(table, "tr")
        say(row, "th", str(one["name"]))
        say(SubElement(row, "td", {"class": "text"}), "code", str(one["command"]))
