"""What goes to stdout: exactly the API's JSON for programs, tables for people; and to stderr, short lines about what is going on.

Colours only on a terminal and never with NO_COLOR. A table that does not go to a terminal is never cut to a width.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Row = Mapping[str, Any]
"""One of the API's objects."""


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, how a row's text comes about, and whether it is a number."""

    name: str
    text: Callable[[Row], str]
    right: bool = False
    paint: bool = False
    """Whether the text is a state, to be coloured by what it means."""


STYLES: Mapping[str, str] = {
    **dict.fromkeys(("running", "available", "ready", "done", "connected"), "green"),
    **dict.fromkeys(("error", "crashed", "failed", "refused", "unreachable"), "red"),
    **dict.fromkeys(("unknown", "cordoned", "cancelled", "paused", "aborting"), "yellow"),
    **dict.fromkeys(("stopped", "disconnected"), "dim"),
    **dict.fromkeys(
        (
            "pending",
            "creating",
            "starting",
            "stopping",
            "deleting",
            "queued",
            "waiting",
            "receiving",
            "checking",
            "joining",
            "preparing",
            "moving",
            "finishing",
        ),
        "cyan",
    ),
}
"""State -> colour; what is not here stays plain."""

_WIDE = 10_000
"""Columns of a table that goes to a file or a pipe: no line is ever cut."""


def console_on(stream: TextIO) -> "Console":
    """A rich console that keeps quiet about colours where there are no eyes."""
    from rich.console import Console

    terminal = stream.isatty()
    plain = not terminal or bool(os.environ.get("NO_COLOR"))
    return Console(file=stream, no_color=plain, highlight=False, markup=False, emoji=False, soft_wrap=not terminal, width=None if terminal else _WIDE)


def note(text: str) -> None:
    """A line about what is going on; never on stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write_data(data: object, form: Format) -> None:
    """JSON or YAML, and nothing else, on stdout."""
    if form is Format.YAML:
        import yaml

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write_line(data: object) -> None:
    """One JSON value a line: what a watch prints for programs."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show(data: "RenderableType") -> None:
    """Anything that rich can draw, on stdout."""
    console_on(sys.stdout).print(data)


def show_list(rows: Sequence[Row], columns: Sequence[Column], form: Format, *, empty: str) -> None:
    """A list of the API: as it is, or as a table; `empty` says on stderr what could be done when there is nothing."""
    if form is not Format.TABLE:
        write_data(list(rows), form)
    elif rows:
        show(table_of(rows, columns))
    else:
        note(empty)


def table_of(rows: Iterable[Row], columns: Sequence[Column]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", overflow="fold", no_wrap=column.name == "ID")
    for row in rows:
        cells = [(column, clean(column.text(row))) for column in columns]
        table.add_row(*(Text(text, style=STYLES.get(text, "") if column.paint else "") for column, text in cells))
    return table


def show_object(data: Row, facts: Sequence[tuple[str, str]], form: Format) -> None:
    """One object of the API: as it is, or as a two-column list of what people want to know. Empty facts are left out."""
    if form is not Format.TABLE:
        write_data(data, form)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        if text:
            table.add_row(name, Text(clean(text), style=STYLES.get(text, "") if name == "state" else ""))
    show(table)


def clean(text: str) -> str:
    """Text from elsewhere (guests, other users) cannot move the cursor or set colours: control characters become '?'."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
