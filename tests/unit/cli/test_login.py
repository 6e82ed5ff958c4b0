"""Logging in: where url and token come from, that they are tried first, and that nobody else can read them."""

import json
import socket
from pathlib import Path

import pytest

from houyi.cli.app import build_app
from houyi.cli.run import run_app
from houyi.model.errors import Failed, Unauthenticated
from houyi.sdk.credentials import find_login, login_file, save_login
from unit.cli.conftest import Houyi, Ran
from unit.cli.fake_api import TOKEN, WHO, FakeApi


@pytest.fixture
def outside(houyi: Houyi, monkeypatch: pytest.MonkeyPatch) -> Houyi:
    """Not logged in."""
    monkeypatch.delenv("HOUYI_API_URL")
    monkeypatch.delenv("HOUYI_API_TOKEN")
    return houyi


def token_in(home: Path, token: str = TOKEN) -> str:
    (home / "token").write_text(token + "\n")
    return str(home / "token")


def test_login_and_then_everything_works(outside: Houyi, api: FakeApi, home: Path) -> None:
    ran = outside("login", api.url + "/", "--token-file", token_in(home), "-o", "json")
    assert (ran.code, ran.json) == (0, WHO), ran.err
    file = home / ".config" / "houyi" / "login.json"
    assert json.loads(file.read_text()) == {"url": api.url, "token": TOKEN}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    assert list(file.parent.iterdir()) == [file]
    assert outside("vm", "list").code == 0
    who = outside("whoami").out
    assert "admin" in who
    assert str(file) in who
    assert TOKEN not in who


def test_a_wrong_token_is_not_kept(outside: Houyi, api: FakeApi, home: Path) -> None:
    ran = outside("login", api.url, "--token-file", token_in(home, "hy_wrong"))
    assert ran.code == 5
    assert not login_file().exists()
    assert "hy_wrong" not in ran.err


@pytest.mark.parametrize("token", ["", "  ", "a b", "a\x00b"])
def test_what_is_no_token(outside: Houyi, api: FakeApi, home: Path, token: str) -> None:
    ran = outside("login", api.url, "--token-file", token_in(home, token))
    assert (ran.code, "token_missing" in ran.err) == (2, True)


def test_from_a_pipe(api: FakeApi, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
    assert run_app(build_app(), ["login", api.url]) == 0


def test_not_logged_in(outside: Houyi) -> None:
    ran = outside("vm", "list")
    assert ran.code == 5
    assert "houyi login" in ran.err


def test_this_machines_own_server(outside: Houyi, api: FakeApi, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "state").mkdir()
    (home / "state" / "admin.token").write_text(TOKEN + "\n")
    monkeypatch.setenv("HOUYI_SERVER__API_PORT", str(api.port))
    assert outside("vm", "list").code == 0
    assert "admin.token" in outside("whoami").out


def test_a_saved_token_goes_only_where_it_belongs(home: Path) -> None:
    """Whoever talks somebody into `--api-url https://evil` must not get the token for another server."""
    save_login("http://127.0.0.1:1", "secret")
    assert find_login("http://127.0.0.1:1/").token == "secret"
    with pytest.raises(Unauthenticated, match=r"http://127\.0\.0\.1:2"):
        find_login("http://127.0.0.1:2")


def test_the_administrators_token_goes_only_to_this_machine(home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "admin.token").write_text("secret")
    assert find_login().token == "secret"
    with pytest.raises(Unauthenticated):
        find_login("http://elsewhere.example")


def test_the_environment_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_login("http://saved", "saved")
    monkeypatch.setenv("HOUYI_API_TOKEN", "given")
    assert find_login().url == "http://saved"
    assert find_login().token == "given"
    monkeypatch.setenv("HOUYI_API_URL", "http://given/")
    assert find_login().url == "http://given"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "x"}'])
def test_a_damaged_login_file_says_so(home: Path, content: str) -> None:
    login_file().parent.mkdir(parents=True)
    login_file().write_text(content)
    with pytest.raises(Unauthenticated, match="houyi login"):
        find_login()


def test_a_home_that_cannot_be_written(home: Path) -> None:
    (home / ".config").write_text("a file")
    with pytest.raises(Failed, match="cannot write"):
        save_login("http://x", "t")


def test_version_without_a_server(outside: Houyi) -> None:
    ran: Ran = outside("version", "-o", "json")
    assert (ran.code, ran.json) == (0, {"client": "0.1.0", "server": None})
    assert "not_logged_in" in outside("version").out


def lab(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "login.json").write_text(json.dumps({"url": f"http://127.0.0.1:1/{name}", "token": f"of-{name}"}))


@pytest.fixture
def labs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labs are; this machine's own server has left its token, and does not run."""
    monkeypatch.setenv("HOUYI_LAB_DIR", str(home / "labs"))
    monkeypatch.setenv("HOUYI_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("HOUYI_SERVER__API_PORT", "1")
    (home / "state").mkdir()
    (home / "state/admin.token").write_text("own")
    return home / "labs"


def test_the_only_lab_is_found_while_nothing_else_answers(labs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_login().token == "own"
    lab(labs, "one")
    assert find_login().token == "of-one"
    with socket.create_server(("127.0.0.1", 0)) as own:
        monkeypatch.setenv("HOUYI_SERVER__API_PORT", str(own.getsockname()[1]))
        assert find_login().token == "own"


def test_of_several_labs_one_is_named(labs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab(labs, "one")
    lab(labs, "two")
    assert find_login().token == "own"
    (labs.parent / "state/admin.token").unlink()
    with pytest.raises(Unauthenticated, match="one, two"):
        find_login()
    monkeypatch.setenv("HOUYI_LAB", "two")
    assert find_login().token == "of-two"
    monkeypatch.setenv("HOUYI_LAB", "three")
    with pytest.raises(Unauthenticated, match="lab up --name three"):
        find_login()


def test_a_lab_is_not_given_the_token_of_another_server(labs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no server that of a lab."""
    lab(labs, "one")
    monkeypatch.setenv("HOUYI_LAB", "one")
    with pytest.raises(Unauthenticated):
        find_login("http://elsewhere.example")
    monkeypatch.setenv("HOUYI_API_TOKEN", "given")
    assert find_login("http://elsewhere.example").token == "given"
