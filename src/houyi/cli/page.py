"""Reports to keep: one HTML file with its plots in it, which loads nothing from anywhere and runs no script, and the figures as JSON beside it."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from houyi.model.errors import Failed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child,.text{text-align:left}img{max-width:100%}.better{color:#117733}.worse{color:#cc3311}.note{color:#666}"
    ".failed{color:#cc3311;font-weight:bold}.warning{font-size:1.6rem;font-weight:bold;color:#cc3311;border:3px solid #cc3311;padding:.6rem 1rem}"
    "code{font-size:.85em;overflow-wrap:anywhere}"
)


def new_page(title: str) -> tuple[Element, Element]:
    """(the whole, its body with a heading)."""
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    say(head, "title", title)
    say(head, "style", STYLE)
    body = SubElement(html, "body")
    say(body, "h1", title)
    return html, body


def say(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    child = SubElement(parent, tag, attributes)
    child.text = text
    return child


def picture(body: Element, figure: "Figure", words: str) -> None:
    """:param words: what is on it, for who cannot see it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    SubElement(body, "img", alt=words, src=f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}")


def whole(html: Element) -> bytes:
    """UTF-8."""
    written: bytes = tostring(html, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + written


def write_page(folder: Path, data_file: str, data: Mapping[str, Any], page: bytes) -> Path:
    """Write `data_file` and `report.html` into a folder. :return: the page. :raise Failed: `file_unwritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / data_file).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        (folder / "report.html").write_bytes(page)
    except OSError as error:
        raise Failed("file_unwritable", f"cannot write into {folder}: {error.strerror}") from None
    return folder / "report.html"
