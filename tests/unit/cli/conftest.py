"""Commands run in this process against a small API on loopback, as a user whose login lives in a temporary home."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from houyi.cli.app import build_app
from houyi.cli.run import run_app
from unit.cli.fake_api import TOKEN, FakeApi, serving


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Houyi = Callable[..., Ran]


@pytest.fixture(scope="session")
def server() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def api(server: FakeApi) -> FakeApi:
    server.asked.clear()
    server.instead.clear()
    server.talk = server.denied = None
    return server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "HOUYI_API_URL", "HOUYI_API_TOKEN", "HOUYI_CONFIG", "HOUYI_LAB", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    ours = {"HOUYI_STATE_DIR": str(tmp_path / "state"), "HOUYI_LAB_DIR": str(tmp_path / "labs")}  # labs of this machine are none of the tests'
    for name, value in {"HOME": str(tmp_path), "COLUMNS": "200", "TZ": "UTC", **ours}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def houyi(api: FakeApi, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Houyi:
    """Run one command line, logged in by the environment."""
    monkeypatch.setenv("HOUYI_API_URL", api.url)
    monkeypatch.setenv("HOUYI_API_TOKEN", TOKEN)

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        code = run_app(build_app(), arguments)
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
