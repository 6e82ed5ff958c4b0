"""An experiment as a page to keep: one HTML file with its plots in it, which loads nothing from anywhere, and the figures as JSON beside it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement

from houyi.cli.page import new_page, picture, say, whole, write_page
from houyi.cli.plots import new_figure
from houyi.cli.session import dig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARMS = ("before", "after")
NAMES: Mapping[str, str] = {"before": "without the change", "after": "with the change"}
COLOURS: Mapping[str, str] = {"before": "#4477aa", "after": "#ee7733"}
"""Paul Tol's: told apart by colour-blind eyes as well."""
WARM_UP = 2
"""Runs that count for nothing: `planning.tuning.series` says so, and the API shows them first."""
KINDS_MAX = 12
"""Kinds of exits that are drawn: those that are most."""


def write_report(one: Mapping[str, Any], folder: Path) -> Path:
    """Write `experiment.json` and `report.html` into a folder. :param one: as the API answers it. :return: the page.

    :raise Failed: `file_unwritable`, `plot_unavailable`.
    """
    return write_page(folder, "experiment.json", one, page_of(one))


def page_of(one: Mapping[str, Any]) -> bytes:
    """The whole page, UTF-8."""
    html, body = new_page(f"Experiment on {one['vm_name']}")
    verdict = str(dig(one, "verdict.verdict") or "none yet").replace("_", " ")
    say(body, "p", f"Verdict: {verdict}. {dig(one, 'verdict.why')}", **{"class": verdict})
    _facts(body, one)
    effects = dig(one, "verdict.effects", [])
    if effects:
        say(body, "h2", "What the change did")
        _effects(body, one, effects)
        picture(body, _forest(effects), "Ratio with / without the change, with its interval, by measure")
    runs = list(one.get("runs") or ())
    main = str(dig(effects[0], "name")) if effects else _first_measure(one)
    if main and any(main in run["values"] for run in runs):
        say(body, "h2", "Run by run")
        picture(body, _by_run(runs, main), "The main measure of every run, in order")
    kinds = _kinds(runs)
    if kinds:
        say(body, "h2", "VM exits by kind")
        picture(body, _by_kind(runs, kinds), "VM exits by kind, without and with the change")
    say(body, "p", METHOD, **{"class": "note"})
    return whole(html)


METHOD = (
    "Runs without and with the change take turns (A B B A); the first of each warms up and counts for nothing. Intervals are Student's t on the logarithms of ratios by "
    "block, corrected for several measures (Holm) and for looking several times (alpha spending). An effect counts when its whole interval lies beyond what matters; "
    "'no difference' means that none could be told, within the interval. On an emulated machine only counts and ratios mean anything, never times."
)


def _facts(body: Element, one: Mapping[str, Any]) -> None:
    table = SubElement(body, "table")
    for name, text in (
        ("VM", f"{one['vm_name']} ({one['vm_id']})"),
        ("without the change", _settings(dig(one, "before", {}))),
        ("with the change", _settings(dig(one, "change", {}))),
        ("measured by", " ".join(dig(one, "command", [])) or f"observing for {dig(one, 'seconds', 0.0):g} s"),
        ("runs", f"{dig(one, 'runs_made', 0)} of at most {dig(one, 'runs_max', 0)}; {dig(one, 'runs_void', 0)} disturbed and made again"),
        ("state", str(one["state"])),
        ("settings now", "the VM keeps the change" if one.get("kept") else "as they were before" if one.get("ended_at") else "on trial"),
        ("begun, ended", f"{one['created_at']}, {one.get('ended_at') or 'not yet'}"),
        ("id", str(one["id"])),
    ):
        row = SubElement(table, "tr")
        say(row, "th", name)
        say(row, "td", text, **{"class": "text"})


def _settings(tuning: Mapping[str, Any]) -> str:
    knobs = ", ".join(f"{name}={value}" for name, value in sorted(dig(tuning, "knobs", {}).items()))
    return f"profile {dig(tuning, 'profile') or 'none'}{f', {knobs}' if knobs else ''}"


def _effects(body: Element, one: Mapping[str, Any], effects: Sequence[Mapping[str, Any]]) -> None:
    measures = {str(measure["name"]): measure for measure in dig(one, "measures", [])}
    table = SubElement(body, "table")
    row = SubElement(table, "tr")
    for name in ("measure", "without", "with", "ratio", "interval", "p", "verdict", "unit", "matters from"):
        say(row, "th", name)
    for effect in effects:
        measure = measures.get(str(effect["name"]), {})
        high = effect["high"]
        row = SubElement(table, "tr")
        told = str(effect["verdict"])
        for text in (
            str(effect["name"]),
            f"{effect['before']:.4g}",
            f"{effect['after']:.4g}",
            f"{effect['ratio']:.3f}",
            f"{effect['low']:.3f} .. {'?' if high is None else f'{high:.3f}'}",
            f"{effect['p']:.2g}",
        ):
            say(row, "td", text)
        say(row, "td", told.replace("_", " "), **{"class": told})
        say(row, "td", f"{dig(measure, 'unit')} ({'less' if dig(measure, 'less_is_better', True) else 'more'} is better)", **{"class": "text"})
        say(row, "td", f"{dig(measure, 'matters', 0.0):.0%}")


def _forest(effects: Sequence[Mapping[str, Any]]) -> "Figure":
    figure = new_figure(1)
    axes = figure.subplots()
    known = [effect for effect in effects if effect["high"] is not None and effect["low"] > 0]
    for row, effect in enumerate(known):
        colour = {"better": "#117733", "worse": "#cc3311"}.get(str(effect["verdict"]), "#888888")
        axes.plot([effect["low"], effect["high"]], [row, row], color=colour, linewidth=2)
        axes.plot([effect["ratio"]], [row], "o", color=colour)
    axes.axvline(1.0, color="#222222", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(known)), [str(effect["name"]) for effect in known])
    axes.invert_yaxis()
    axes.set_xlabel("with / without the change (logarithmic)")
    axes.grid(alpha=0.3)
    return figure


def _by_run(runs: Sequence[Mapping[str, Any]], name: str) -> "Figure":
    figure = new_figure(1)
    axes = figure.subplots()
    for side in ARMS:
        shown = [(number, run["values"][name]) for number, run in enumerate(runs, 1) if run["arm"] == side and name in run["values"] and number > WARM_UP]
        axes.plot([number for number, _ in shown], [value for _, value in shown], "o", color=COLOURS[side], label=NAMES[side])
    warm = [(number, run["values"][name]) for number, run in enumerate(runs[:WARM_UP], 1) if name in run["values"]]
    axes.plot([number for number, _ in warm], [value for _, value in warm], "x", color="#999999", label="warm-up")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("run")
    axes.set_ylabel(name)
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def _kinds(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Values that count exits of one kind, those that are most first: by reason where they were traced, else as KVM counts them; per unit of work, else a second."""
    counted = [run["values"] for run in runs[WARM_UP:]]
    for suffix in ("_per_work", "_per_second"):
        there = {name for values in counted for name in values if name.endswith(suffix)}
        kinds = {name for name in there if name.startswith("reason:")} or {name for name in there if name.endswith(f"_exits{suffix}")}
        if kinds:
            return sorted(kinds, key=lambda name: -sum(values.get(name, 0.0) for values in counted))[:KINDS_MAX]
    return []


def _by_kind(runs: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> "Figure":
    figure = new_figure(1)
    axes = figure.subplots()
    for offset, side in enumerate(ARMS):
        values = [[run["values"].get(kind, 0.0) for run in runs[WARM_UP:] if run["arm"] == side] for kind in kinds]
        means = [math.fsum(of_kind) / len(of_kind) if of_kind else 0.0 for of_kind in values]
        axes.barh([row + 0.4 * offset for row in range(len(kinds))], means, height=0.4, color=COLOURS[side], label=NAMES[side])
    axes.set_yticks([row + 0.2 for row in range(len(kinds))], [kind.removeprefix("reason:").rpartition("_per_")[0] for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlabel("per unit of work" if kinds[0].endswith("_per_work") else "per second")
    axes.legend()
    axes.grid(alpha=0.3, axis="x")
    return figure


def _first_measure(one: Mapping[str, Any]) -> str:
    measures = dig(one, "measures", [])
    return str(measures[0]["name"]) if measures else ""
