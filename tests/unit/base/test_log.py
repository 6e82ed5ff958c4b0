import json
from collections.abc import Iterator

import pytest
import structlog

from houyi.base.log import bound, get_log, set_up


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_an_event_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    with bound(request_id="r1"):
        get_log("houyi.x").info("vm_started", vm="v1")
    get_log("houyi.x").debug("not_shown")
    (line,) = lines(capsys)
    assert (line["event"], line["vm"], line["request_id"], line["level"]) == ("vm_started", "v1", "r1", "info")


@pytest.mark.parametrize("fact", ["secret", "join_token", "Authorization", "user_data", "database_password", "private_key_pem"])
def test_secrets_are_masked(capsys: pytest.CaptureFixture[str], fact: str) -> None:
    set_up("info", "json")
    get_log("x").info("said", **{fact: "hy_1_abcdef"}, token_id="t1")
    (line,) = lines(capsys)
    assert line[fact] == "***"
    assert line["token_id"] == "t1"


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    try:
        raise ValueError("no")
    except ValueError:
        get_log("x").exception("failed")
    (line,) = lines(capsys)
    assert "ValueError: no" in str(line["exception"])
