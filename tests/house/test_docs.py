"""The documentation is true: settings, errors, commands, promises and links are compared with the code."""

import re

import pytest

from house.pages import PAGES, codes
from house.tree import ROOT, files
from houyi.main.commands import whole_app

PROMISES = (ROOT / "docs" / "PROMISES.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_new(page: str) -> None:
    assert (ROOT / page).read_text() == PAGES[page](), "run: PYTHONPATH=src:tests python -m house.pages"


def test_codes_are_found_and_well_formed() -> None:
    assert "name_invalid" in {code.code for code in codes()}
    assert [code for code in codes() if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", code.code)] == []


def test_an_error_is_one_class() -> None:
    """The same code always asks the same of the caller."""
    kinds: dict[str, set[str]] = {}
    for code in codes():
        if code.kind != "Problem":
            kinds.setdefault(code.code, set()).add(code.kind)
    assert {code: found for code, found in kinds.items() if len(found) > 1} == {}


def test_promises_name_tests_that_exist() -> None:
    rows = re.findall(r"^\| (R\d+|P\d+) \|(.*)\|(.*)\|$", PROMISES, re.MULTILINE)
    assert len(rows) >= 12
    assert len({number for number, _, _ in rows}) == len(rows)
    for number, _, proof in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", proof)
        assert tests or "no test yet" in proof, number
        for path, name in tests:
            assert (ROOT / path).is_file(), f"{number}: {path}"
            assert not name or re.search(rf"def {name}\b", (ROOT / path).read_text()), f"{number}: {path}::{name}"


def test_links_lead_somewhere() -> None:
    pages = [path for path in files() if path.suffix == ".md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())]
    broken = [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert broken == []


def test_every_command_is_documented() -> None:
    """Walk the command tree; docs/CLI.md has a heading for each command."""
    app = whole_app()
    page = (ROOT / "docs" / "CLI.md").read_text()
    commands = list(_commands(app, ()))
    assert len(commands) > 30
    assert [words for words in commands if f"houyi {words}" not in page] == []


def _commands(app: object, before: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in app:  # type: ignore[attr-defined]
        if name.startswith("-"):
            continue
        child = app[name]  # type: ignore[index]
        words = (*before, name)
        inner = _commands(child, words)
        found += inner or [" ".join(words)]
    return found
