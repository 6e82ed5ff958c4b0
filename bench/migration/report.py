"""Tables and plots of a run. Pure, but for writing the plots."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from migration.records import Record

BUDGET_MS = 300.0
LEARNED_AFTER = 10
"""Moves of a guest after which its forecasts are counted."""
WITHIN = 0.25


def by(records: Sequence[Record]) -> Mapping[tuple[float, str], list[Record]]:
    """By load and policy, in the order of loads and of names, ours last."""
    keys = sorted({(one.rate, one.policy.startswith("ours"), one.policy) for one in records})
    return {(rate, policy): [one for one in records if (one.rate, one.policy) == (rate, policy)] for rate, _, policy in keys}


def table(records: Sequence[Record]) -> str:
    lines = [
        "| load, MiB/s | policy | done | total s | sent MiB | stop ms (QEMU) | gap ms (guest) | slowed | worth s |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (rate, policy), moves in by(records).items():
        done = [one for one in moves if not one.failed]
        shown = [
            _spread([one.seconds for one in moves], "{:.1f}"),
            _spread([one.sent_mib for one in moves], "{:.0f}"),
            _spread([one.downtime_ms for one in done], "{:.0f}"),
            _spread([one.gap_ms for one in moves], "{:.0f}"),
            _spread([100 * one.slowed for one in moves], "{:.0f} %", plain=True),
            _spread([one.lost_seconds for one in moves], "{:.1f}", plain=True),
        ]
        lines.append(f"| {rate:g} | {policy} | {len(done)} of {len(moves)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str, *, plain: bool = False) -> str:
    if not values:
        return "-"
    middle = form.format(statistics.median(values))
    if plain or len(values) < 2:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def verdicts(records: Sequence[Record], mine: str = "ours") -> str:
    """For each load: our total time against the quickest of the others that moved the guest every time within its budget, and against the quickest at all."""
    found = by(records)
    lines = []
    for rate in sorted({rate for rate, _ in found}):
        ours = found.get((rate, mine), [])
        sound = {
            policy: moves for (at, policy), moves in found.items() if at == rate and not policy.startswith("ours") and all(not one.failed for one in moves)
        }
        postcopy = "post-copy" in mine
        sound = {policy: moves for policy, moves in sound.items() if postcopy or "post-copy" not in policy}
        if not ours:
            continue
        if not sound:
            lines.append(f"{rate:g} MiB/s: {mine} {_spread([one.seconds for one in ours], '{:.1f}')} s; none of the others ends each move")
            continue
        best = min(sound, key=lambda policy: statistics.median(one.seconds for one in sound[policy]))
        mine_s, its = [one.seconds for one in ours], [one.seconds for one in sound[best]]
        ratio = statistics.median(mine_s) / statistics.median(its)
        apart = min(mine_s) > max(its) or max(mine_s) < min(its)
        word = ("quicker" if ratio < 1 else "slower") if apart else "no difference beyond the spread"
        lines.append(
            f"{rate:g} MiB/s: {mine} takes {ratio:.2f} of the time of the best other, {best} ({word}); "
            f"gap {statistics.median(one.gap_ms for one in ours):.0f} ms against {statistics.median(one.gap_ms for one in sound[best]):.0f} ms"
        )
    return "\n".join(lines)


def goals(records: Sequence[Record]) -> str:
    """Ours against what is promised."""
    ours = [one for one in records if one.policy.startswith("ours")]
    done = [one for one in ours if not one.failed]
    within = sum(one.gap_ms <= BUDGET_MS for one in done)
    # by the agent's own clock: what it tells people
    told = [one for one in learned(ours) if one.foretold is not None and not one.failed and one.elapsed > 0]
    near = sum(abs(float(one.foretold["seconds"]) / one.elapsed - 1) <= WITHIN for one in told if one.foretold is not None)  # type: ignore[arg-type]
    return "\n".join(
        [
            f"moves of ours that ended at the destination: {len(done)} of {len(ours)}",
            f"gap within {BUDGET_MS:.0f} ms: {_share(within, len(done))}",
            f"total time foretold within {WITHIN:.0%}, after {LEARNED_AFTER} moves of the guest: {_share(near, len(told))}",
        ]
    )


def learned(ours: Sequence[Record]) -> list[Record]:
    """Each load is a guest of its own to whoever foretells."""
    seen: Counter[float] = Counter()
    found = []
    for one in ours:
        if seen[one.rate] >= LEARNED_AFTER:
            found.append(one)
        seen[one.rate] += 1
    return found


def _share(some: int, total: int) -> str:
    """With the 95 % interval of Wilson, since such counts are small."""
    if not total:
        return "none"
    share, z = some / total, 1.96
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return f"{some} of {total} ({share:.0%}; 95 % interval {max(0.0, centre - half):.0%} to {min(1.0, centre + half):.0%})"


@dataclass(frozen=True, slots=True)
class Figure:
    """One plot of dots, a row for each policy and a column for each load."""

    title: str
    value: Callable[[Record], float]
    limit: float = 0.0
    """A line at this value; 0: none."""


FIGURES = {
    "migration-time": Figure("Total time, s (hollow: it did not end at the destination)", lambda one: one.seconds),
    "migration-gap": Figure("Longest gap between two beats of the guest, ms (hollow: not moved)", lambda one: one.gap_ms, BUDGET_MS),
    "migration-lost": Figure("Work that the guest lost while it moved, s", lambda one: one.lost_seconds),
}
_ROW, _COLUMN, _LEFT, _TOP = 22, 190, 190, 58


def svg(records: Sequence[Record], figure: Figure) -> str:
    """Each column has its own scale, from 0."""
    rates = sorted({one.rate for one in records})
    policies = list(dict.fromkeys(policy for _, policy in by(records)))
    policies.sort(key=lambda policy: (policy.startswith("ours"), policy))
    width, height = _LEFT + _COLUMN * len(rates) + 10, _TOP + _ROW * len(policies) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-size="14">{escape(figure.title)}</text>',
    ]
    for row, policy in enumerate(policies):
        y = _TOP + _ROW * row + _ROW // 2
        weight = ' font-weight="bold"' if policy.startswith("ours") else ""
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end"{weight}>{escape(policy)}</text>')
        parts.append(f'<line x1="{_LEFT}" x2="{width - 10}" y1="{y}" y2="{y}" stroke="#eee"/>')
    for column, rate in enumerate(rates):
        parts += _column(records, figure, rate, policies, _LEFT + _COLUMN * column, height)
    return "\n".join((*parts, "</svg>\n"))


def _column(records: Sequence[Record], figure: Figure, rate: float, policies: Sequence[str], left: int, height: int) -> list[str]:
    mine = [one for one in records if one.rate == rate]
    most = max([figure.value(one) for one in mine] + [figure.limit]) or 1.0
    scale = (_COLUMN - 24) / most
    bottom = height - 26
    parts = [f'<text x="{left + 4}" y="44" fill="#555">{rate:g} MiB/s</text>', f'<line x1="{left}" x2="{left}" y1="{_TOP}" y2="{bottom}" stroke="#999"/>']
    parts += [
        f'<text x="{left + scale * at:.1f}" y="{bottom + 14}" fill="#555" text-anchor="middle">{at:g}</text>'
        f'<line x1="{left + scale * at:.1f}" x2="{left + scale * at:.1f}" y1="{bottom}" y2="{bottom + 3}" stroke="#999"/>'
        for at in _ticks(most)
    ]
    if figure.limit:
        x = left + scale * figure.limit
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#c00" stroke-dasharray="4 3"/>')
    for one in mine:
        y = _TOP + _ROW * policies.index(one.policy) + _ROW // 2
        colour = "#0a6" if one.policy.startswith("ours") else "#357"
        fill = "none" if one.failed else colour
        parts.append(f'<circle cx="{left + scale * figure.value(one):.1f}" cy="{y}" r="4" fill="{fill}" fill-opacity="0.6" stroke="{colour}"/>')
    return parts


def _ticks(most: float) -> list[float]:
    step = 10 ** math.floor(math.log10(most))
    step *= 0.5 if most / step < 2 else 1.0 if most / step < 5 else 2.0
    return [round(step * number, 6) for number in range(int(most / step) + 1)]


def forecasts_svg(records: Sequence[Record]) -> str:
    """Told against came, of ours, with the band of a quarter; each guest's first ten moves are hollow."""
    ours = [one for one in records if one.policy.startswith("ours")]
    counted = {id(one) for one in learned(ours)}
    shown = [(id(one) in counted, float(one.foretold["seconds"]), one.elapsed) for one in ours if one.foretold is not None and not one.failed]  # type: ignore[arg-type]
    most = max([told for _, told, _ in shown] + [came for _, _, came in shown] + [1.0]) * 1.05
    size, left = 360, 50
    scale = size / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + size + 20} {size + 90}" width="{left + size + 20}" font-family="sans-serif" font-size="12">',
        f'<rect width="{left + size + 20}" height="{size + 90}" fill="#fff"/>',
        '<text x="8" y="20" font-size="14">Total time as foretold (up) and as it came (right), s</text>',
        f'<g transform="translate({left},{40 + size}) scale(1,-1)">',
        f'<polygon points="0,0 {size},{size * (1 - WITHIN):.1f} {size},{size} {size / (1 + WITHIN):.1f},{size}" fill="#0a6" fill-opacity="0.12"/>',
        f'<rect width="{size}" height="{size}" fill="none" stroke="#999"/><line x2="{size}" y2="{size}" stroke="#999"/>',
    ]
    for solid, told, came in shown:
        fill = "#0a6" if solid else "none"
        parts.append(f'<circle cx="{came * scale:.1f}" cy="{told * scale:.1f}" r="4" fill="{fill}" fill-opacity="0.6" stroke="#0a6"/>')
    parts.append("</g>")
    for at in _ticks(most):
        parts.append(f'<text x="{left + at * scale:.1f}" y="{size + 56}" text-anchor="middle" fill="#555">{at:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{44 + size - at * scale:.1f}" text-anchor="end" fill="#555">{at:g}</text>')
    return "\n".join((*parts, "</svg>\n"))


def write(records: Sequence[Record], plots: Path | None) -> None:
    print("\n" + table(records) + "\n")
    for mine in ("ours", "ours, post-copy"):
        print(verdicts(records, mine))
    print("\n" + goals(records))
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for name, figure in FIGURES.items():
            (plots / f"{name}.svg").write_text(svg(records, figure))
        (plots / "migration-forecast.svg").write_text(forecasts_svg(records))
