"""Pages that are generated from the code: docs/SETTINGS.md, docs/ERRORS.md, docs/openapi.json. tests/house/test_docs.py fails when they are old.

Write them anew:  PYTHONPATH=src:tests python -m house.pages
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cyclopts import App
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from house.tree import ROOT, Module, dotted, modules
from houyi.api.app import bare_app
from houyi.base.config import Settings
from houyi.cli.exits import EXIT_CODES, INTERRUPTED, USAGE
from houyi.main.commands import whole_app
from houyi.model import errors
from houyi.sdk.credentials import TOKEN_VARIABLE, URL_VARIABLE

NEW = "Generated from the code by `PYTHONPATH=src:tests python -m house.pages`; a test compares. Do not edit."


def settings_page() -> str:
    lines = ["# Settings", "", NEW, "", _first_lines(), ""]
    plain = {name: field for name, field in Settings.model_fields.items() if not _section(field)}
    lines += _table("", "", plain)
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section:
            lines += ["", f"## [{name}]", "", field.description or "", "", *_table(f"{name}.", f"{name.upper()}__", section.model_fields)]
    return "\n".join(lines) + "\n"


def _first_lines() -> str:
    return (
        "A TOML file (`$HOUYI_CONFIG`, else `/etc/houyi/houyi.toml` if it exists), overridden by environment variables. Everything has a default; an unknown\n"
        "name in the file is an error. No secret is a setting: secrets live in files with mode 0600 under `state_dir`."
    )


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _table(prefix: str, variable: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| setting | environment | default | what it is |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        text = (field.description or "").replace("|", "\\|")
        yield f"| `{prefix}{name}` | `HOUYI_{variable}{name.upper()}` | {_shown(field.get_default(call_default_factory=True))} | {text} |"


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, Path):
        return f"`{value}`"
    return f"`{json.dumps(value)}`"


class Code(NamedTuple):
    code: str
    kind: str
    """The error class, or 'Problem' for one that is only stored and shown."""
    sentence: str


KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.HouyiError) and kind is not errors.HouyiError}


def codes() -> list[Code]:
    """Every code that the package can raise or store, with its sentences as they are in the source."""
    found = {code for module in modules() for code in _codes_of(module)}
    return sorted(found)


def _codes_of(module: Module) -> Iterator[Code]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            kind = dotted(node.func).rsplit(".", 1)[-1]
            if kind in KINDS or kind == "Problem":
                arguments = [*node.args, *(word.value for name in ("code", "detail") for word in node.keywords if word.arg == name)]
                for code in _literals(arguments[0]) if arguments else ():
                    yield Code(code, kind, _sentence(arguments[1]) if len(arguments) > 1 else "")


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def _sentence(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sentence(node.left) + _sentence(node.right)
    return "…"


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        NEW,
        "",
        "Every refusal has a stable `code`. The API answers `application/problem+json` with `code` and `detail`; the CLI prints `detail` in one line. The class says",
        "what a caller can do about it; `…` stands for what is filled in.",
        "",
        "| class | what to do |",
        "|---|---|",
        *(f"| {name} | {' '.join((kind.__doc__ or '').split())} |" for name, kind in KINDS.items()),
        "",
        "| code | class | sentence |",
        "|---|---|---|",
    ]
    by_code: dict[str, list[Code]] = {}
    for code in codes():
        by_code.setdefault(code.code, []).append(code)
    for name, all_of_it in by_code.items():
        kinds = ", ".join(dict.fromkeys(code.kind for code in all_of_it))
        sentences = "<br>".join(dict.fromkeys(" ".join(code.sentence.split()).replace("|", "\\|").replace("<", "&lt;") for code in all_of_it))
        lines.append(f"| `{name}` | {kinds} | {sentences} |")
    return "\n".join(lines) + "\n"


def command_tree() -> App:
    """The whole tree, with the commands that act on this machine."""
    return whole_app()


def cli_page() -> str:
    exits = {code: [kind.__name__ for kind, number in EXIT_CODES.items() if number == code] for code in sorted(set(EXIT_CODES.values()))}
    lines = [
        "# The command line",
        "",
        NEW,
        "",
        "`houyi NOUN VERB`. Every command takes `-o json`: stdout is then exactly what the API answered, a list for `list`, and nothing else; what is told to",
        "people goes to stderr. Sizes are written `512MiB`, `4GiB`; times `90s`, `5m`, `2h`. Colours only on a terminal and without `NO_COLOR`.",
        "",
        f"The server and the token come from `{URL_VARIABLE}` and `{TOKEN_VARIABLE}`, else from `houyi login`, else, for root on the server's own machine, from what",
        "its first start left there. An interrupted wait leaves the operation running: `houyi operation wait ID`.",
        "",
        "## Exit codes",
        "",
        "| code | when |",
        "|---|---|",
        "| 0 | it worked |",
        *(f"| {code} | {', '.join(f'[{name}](ERRORS.md)' for name in names)}{NOTES.get(code, '')} |" for code, names in exits.items()),
        f"| {INTERRUPTED} | interrupted from the keyboard |",
        "",
    ]
    tree = command_tree().generate_docs(flatten_commands=True, heading_level=2, usage_name="houyi")
    return "\n".join(lines) + "\n" + tree[tree.index("## Table of Contents") :].rstrip() + "\n"


NOTES = {USAGE: "; a mistake in the command line", 7: "; the end of a `--timeout`"}


def openapi_page() -> str:
    return json.dumps(bare_app().openapi(), indent=1, ensure_ascii=False) + "\n"


PAGES = {"docs/SETTINGS.md": settings_page, "docs/ERRORS.md": errors_page, "docs/CLI.md": cli_page, "docs/openapi.json": openapi_page}


if __name__ == "__main__":
    sys.argv = ["houyi"]  # cyclopts looks there for the program's name
    for name, page in PAGES.items():
        (ROOT / name).write_text(page())
