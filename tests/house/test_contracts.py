"""The floors hold, and each contract in pyproject.toml catches a deliberate wrong import."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from house.tree import PACKAGE, ROOT

CONTRACTS = {contract["id"]: contract for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]}

PLANTS = (
    # contract, module that gets the import, the import
    ("floors", "base.ids", "import houyi.model.vm"),
    ("floors", "api", "import houyi.agent"),
    ("floors", "sdk", "import houyi.control"),
    ("floors", "control", "import houyi.main"),
    ("floors", "local", "import houyi.main.commands"),
    ("floors", "planning", "import houyi.wire.agents"),
    ("sql", "main.server", "import sqlalchemy"),
    ("floors", "cli", "import houyi.local"),
    ("floors", "unheard_of", "import houyi.model.vm"),
    ("no-cycles", "model.ids", "import houyi.model.vm"),
    ("server-half", "api", "import houyi.host.shell"),
    ("server-half", "control", "import houyi.host.port"),
    ("server-half", "store", "import houyi.agent"),
    ("host-half", "agent", "import houyi.store"),
    ("host-half", "host", "import houyi.control"),
    ("host-half", "agent", "import houyi.api"),
    ("clients", "cli", "import houyi.store"),
    ("clients", "cli", "import houyi.host.port"),
    ("clients", "sdk", "import houyi.planning"),
    ("local", "local", "import houyi.store"),
    ("local", "local", "import houyi.agent"),
    ("json-at-the-door", "store", "import houyi.wire.agents"),
    ("json-at-the-door", "control", "import houyi.wire"),
    ("json-at-the-door", "host", "import houyi.wire.agents"),
    *(("pure", "planning", f"import {name}") for name in ("asyncio", "time", "random", "os", "socket", "subprocess", "sqlalchemy", "libvirt", "httpx2")),
    ("pure", "model.names", "from houyi.base import clock"),
    ("pure", "wire.v1", "from time import monotonic"),
    ("wire-only-shapes", "model.names", "import pydantic"),
    ("wire-only-shapes", "planning", "import msgspec"),
    ("sql", "api", "from sqlalchemy import select"),
    ("sql", "control", "import sqlite3"),
    ("sql", "host", "import asyncpg"),
    ("libvirt", "agent", "import libvirt"),
    ("libvirt", "host.domxml", "import libvirt"),
    ("libvirt", "base.clock", "import libvirtaio"),
    ("processes", "host.port", "import subprocess"),
    ("processes", "local", "from subprocess import run"),
    ("processes", "host.probe", "import multiprocessing"),
    ("rows", "api", "import houyi.store.rows"),
    ("rows", "control.reconcilers", "import houyi.store.rows.vm"),
    ("claims", "control.commands.image", "import houyi.store.claims"),
    ("claims", "api.v1", "import houyi.store.claims"),
    ("journal", "api.v1", "import houyi.store.journal"),
    ("courses", "control.commands.migration", "import houyi.store.courses"),
    ("host-parts", "host.domxml", "import houyi.host.disk"),
    ("host-parts", "host.net", "import houyi.host.probe"),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """For no plant, and then for each of PLANTS, the ids of the contracts that broke."""
    folder = tmp_path_factory.mktemp("planted")
    package = Path(shutil.copytree(PACKAGE, folder / "src" / "houyi", ignore=shutil.ignore_patterns("__pycache__")))
    ask = {"config": str(ROOT / "pyproject.toml"), "package": str(package), "plants": [("__init__", ""), *((m, line) for _, m, line in PLANTS)]}
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("plant.py"))],
        input=json.dumps(ask),
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parsed: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def test_the_house_keeps_its_floors(answers: list[list[str]]) -> None:
    assert answers[0] == [], "run `lint-imports` to see which import broke them"


@pytest.mark.parametrize("number", range(len(PLANTS)), ids=[f"{c}: {m}: {line}" for c, m, line in PLANTS])
def test_a_wrong_import_is_caught(answers: list[list[str]], number: int) -> None:
    assert PLANTS[number][0] in answers[number + 1]


def test_every_contract_has_a_plant() -> None:
    assert {contract for contract, _, _ in PLANTS} == set(CONTRACTS)


def test_contracts_name_every_room() -> None:
    """A room that is added has to be named in the contracts that list all rooms."""
    rooms = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").exists() or (path.suffix == ".py" and path.stem not in ("__init__", "__main__"))}
    sources = {name.removeprefix("houyi.") for name in CONTRACTS["sql"]["source_modules"]}
    assert rooms - sources == {"store"}
    assert sources <= rooms
