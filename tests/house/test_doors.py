"""One door each, where imports alone cannot tell: processes, shells, XML as text, mocks, the clock in pure rooms."""

import ast
import re
from collections.abc import Iterator

import pytest

from house.tree import ROOT, Module, dotted, files, modules, text_of, where

PROCESS_CALLS = re.compile(
    r"^(asyncio\.|subprocess\.)?create_subprocess_(exec|shell)$|^os\.(exec\w+|fork\w*|spawn\w+|posix_spawn\w*|system|popen)$|\.subprocess_(exec|shell)$|^subprocess\."
    r"|^multiprocessing\.|(^|\.)ProcessPoolExecutor$|^pty\.(fork|spawn)$"
)
IMPURE_CALLS = re.compile(
    r"^(open|print|input|exec|eval|__import__)$|(^|\.)datetime\.(now|utcnow|today)$|(^|\.)date\.today$|(^|\.)uuid[14]$|(^|\.)import_module$"
)
XML_TEXT = re.compile(r"<\s*/?\s*[A-Za-z][\w:.-]*(\s+[\w:.-]+\s*=|\s*/?\s*>|\s*$)")


def calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    names = _imported(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            first, dot, rest = name.partition(".")
            yield node, names.get(first, first) + dot + rest


def _imported(module: Module) -> dict[str, str]:
    """Local name -> full name, so that `from os import fork as f` does not slip through."""
    names = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return names


def process_starts(module: Module) -> list[str]:
    return [f"{where(module, node)} {name}" for node, name in calls(module) if PROCESS_CALLS.search(name)]


def module_of(text: str) -> Module:
    return Module("planted", ROOT / "planted.py", text, ast.parse(text))


STARTS_PROCESSES = {"host.shell", "host.probe.kvm_trial"}
"""The trial is a program of its own, started by the shell; it forks so that a virtual CPU that hangs in the kernel hangs only its child."""


def test_processes_are_started_only_by_the_shell() -> None:
    assert [found for module in modules() if module.name not in STARTS_PROCESSES for found in process_starts(module)] == []


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio\nasyncio.create_subprocess_exec('ls')",
        "from asyncio import create_subprocess_shell as go\ngo('ls')",
        "import os\nos.execv('/bin/ls', [])",
        "import os as o\no.fork()",
        "import os\nos.posix_spawn('/bin/ls', [], {})",
        "from os import system\nsystem('ls')",
        "loop.subprocess_exec(p, 'ls')",
        "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor()",
        "import subprocess\nsubprocess.run(['ls'])",
        "import multiprocessing as mp\nmp.Process()",
    ],
)
def test_a_start_of_a_process_is_seen(text: str) -> None:
    assert process_starts(module_of(text))


def test_no_shell() -> None:
    for module in modules():
        for node, _ in calls(module):
            assert not any(word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False) for word in node.keywords), where(
                module, node
            )


def test_pure_rooms_call_nothing_impure() -> None:
    """What import contracts cannot see: builtins, and the clock behind `datetime` and `uuid`."""
    found = [f"{where(m, node)} {name}" for m in modules() if m.room in {"model", "planning", "wire"} for node, name in calls(m) if IMPURE_CALLS.search(name)]
    assert found == []


def xml_texts(module: Module) -> list[str]:
    """f-strings, % and .format and + on literals that hold a tag."""
    found = []
    for node in ast.walk(module.tree):
        texts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr):
            texts = node.values
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            texts = [node.left, node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            texts = [node.func.value]
        if any(isinstance(text, ast.Constant) and isinstance(text.value, str) and XML_TEXT.search(text.value) for text in texts):
            found.append(where(module, node))
    return found


def test_no_xml_out_of_text() -> None:
    assert [found for module in modules() if module.room in {"host", "planning", "agent"} for found in xml_texts(module)] == []


@pytest.mark.parametrize("text", ["f'<name>{x}</name>'", "'<name>%s</name>' % x", "'<name a=\"{}\"/>'.format(x)", "'<name>' + x + '</name>'"])
def test_xml_out_of_text_is_seen(text: str) -> None:
    assert xml_texts(module_of(text))


def test_no_mock_patch() -> None:
    """Our own code is never patched: a port has a complete stand-in instead."""
    patching = re.compile(r"mock\." + r"patch|from unittest(\.mock)? import|import unittest|mocker\b")
    assert [str(path.relative_to(ROOT)) for path in files() if path.suffix == ".py" and patching.search(text_of(path)) and path.name != "test_doors.py"] == []


def test_no_wait_for() -> None:
    """Until Python 3.12 `asyncio.wait_for` swallows a cancellation that meets its result, and a loop around it then never ends: use `asyncio.timeout`."""
    assert [where(module, node) for module in modules() for node, name in calls(module) if name == "asyncio.wait_for"] == []
