from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from houyi.base import config
from houyi.base.config import Settings


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("HOUYI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "absent.toml")


def test_everything_has_a_default() -> None:
    settings = Settings()
    assert settings.state_dir == Path("/var/lib/houyi")
    assert settings.server.api_host == "127.0.0.1"


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "houyi.toml"
    file.write_text('state_dir = "/data"\n[server]\napi_port = 1\nagents_port = 2\nagents_names = ["a.example", "10.0.0.1"]\n')
    monkeypatch.setenv("HOUYI_CONFIG", str(file))
    monkeypatch.setenv("HOUYI_SERVER__API_PORT", "3")
    settings = Settings()
    assert (settings.state_dir, settings.server.api_port, settings.server.agents_port) == (Path("/data"), 3, 2)
    assert settings.server.agents_names == ("a.example", "10.0.0.1")


@pytest.mark.parametrize("text", ["api_port = 1", "[server]\napi_prot = 1", "[sever]\napi_port = 1", "[server]\napi_port = 65536", "[log]\nlevel = 'loud'"])
def test_what_is_wrong_in_the_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "houyi.toml"
    file.write_text(text)
    monkeypatch.setenv("HOUYI_CONFIG", str(file))
    with pytest.raises((ValidationError, SettingsError)):
        Settings()


def test_settings_do_not_change_under_anybody() -> None:
    with pytest.raises(ValidationError):
        Settings().server.api_port = 1
