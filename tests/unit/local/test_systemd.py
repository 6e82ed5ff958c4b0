"""The units: complete, quoted right, accepted by systemd itself where its checker is installed, and never over somebody else's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.base.config import Settings
from houyi.local.systemd import UNITS, Installed, quoted, runs, units
from houyi.model.errors import Conflict

COMMANDS = {
    "houyi-server.service": [sys.executable, "-I", "-m", "houyi", "server"],
    "houyi-agent.service": [sys.executable, "-I", "-m", "houyi", "agent"],
}


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_units_name_what_settings_say(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", run_dir=Path("/run/houyi-x"), log_dir=tmp_path / "log")
    texts = units(settings, COMMANDS, {})
    assert set(texts) == set(UNITS)
    for text in texts.values():
        assert values(text, "RuntimeDirectory") == ["houyi-x"]
        (writable,) = values(text, "ReadWritePaths")
        assert [word.strip('"') for word in writable.split()] == [f"-{tmp_path}/state", "-/run/houyi-x", f"-{tmp_path}/log"]
        assert values(text, "NoNewPrivileges") == ["yes"]
        assert "${" not in text
    assert values(texts["houyi-server.service"], "CapabilityBoundingSet") == [""]


def test_a_run_dir_elsewhere_is_not_given_to_systemd(tmp_path: Path) -> None:
    text = units(Settings(run_dir=tmp_path), COMMANDS, {})["houyi-agent.service"]
    assert values(text, "RuntimeDirectory") == [""]


def test_settings_are_taken_over_and_tokens_are_not() -> None:
    environment = {"HOUYI_SERVER__API_PORT": "1", "HOUYI_STATE_DIR": "/a b", "HOUYI_TOKEN": "hy_secret", "PATH": "/x", "HOUYI_LOG__LEVEL": "debug"}
    text = units(Settings(), COMMANDS, environment)["houyi-server.service"]
    assert values(text, "Environment") == ['"HOUYI_LOG__LEVEL=debug"', '"HOUYI_SERVER__API_PORT=1"', '"HOUYI_STATE_DIR=/a b"']
    assert "hy_secret" not in text


@pytest.mark.parametrize(("word", "text"), [("a b", '"a b"'), ('"', '"\\""'), ("50%", '"50%%"'), ("\\n", '"\\\\n"'), ("$x", '"$$x"')])
def test_words_are_quoted(word: str, text: str) -> None:
    assert quoted(word, dollar=True) == text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30))
def test_a_quoted_word_ends_where_it_ends(word: str) -> None:
    """One line, and no quote inside that is not escaped."""
    text = quoted(word)
    inner = text[1:-1].replace("\\\\", "").replace('\\"', "")
    assert text[0] == text[-1] == '"'
    assert '"' not in inner
    assert "\n" not in text


def complaints(folder: Path, texts: dict[str, str]) -> list[str]:
    """What systemd's own checker says about units, but not about units of the machine that they name."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *(str(folder / name) for name in texts)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if "Failed to create directory" in done.stderr:  # from systemd 257 on
        pytest.skip("systemd-analyze wants /run/systemd, which this user cannot make")
    return [line for line in done.stderr.splitlines() if str(folder) in line or line.startswith("houyi-")]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_them(tmp_path: Path) -> None:
    texts = units(Settings(), COMMANDS, {"HOUYI_SERVER__API_PORT": "7480"})
    assert complaints(tmp_path, texts) == []
    name = "houyi-agent.service"
    for wrong in ("ProtectSystem=strictly", "NoSuchKey=yes", "SystemCallFilter=@nonsense"):
        assert complaints(tmp_path, {name: texts[name].replace("ProtectSystem=strict", wrong)}) != []


def test_writing_again_changes_nothing_and_others_units_stay(tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    texts = units(Settings(), COMMANDS, {})
    assert installed.write(texts) == UNITS
    assert installed.present == UNITS
    assert installed.write(texts) == ()
    other = units(Settings(log_dir=tmp_path), {"houyi-agent.service": COMMANDS["houyi-agent.service"]}, {})
    assert installed.write(other) == ("houyi-agent.service",)
    (tmp_path / "houyi-agent.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "houyi-server.service").unlink()
    with pytest.raises(Conflict, match="was not made by houyi") as refused:
        installed.write(texts)
    assert refused.value.code == "unit_foreign"
    assert installed.present == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houyi-agent.service"]


def test_where_systemd_runs_is_seen(tmp_path: Path) -> None:
    assert not runs(tmp_path / "system")
    (tmp_path / "system").mkdir()
    assert runs(tmp_path / "system")
