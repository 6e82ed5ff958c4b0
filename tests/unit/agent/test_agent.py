"""What the agent is started with."""

import io
from pathlib import Path

import pytest

from houyi.agent.agent import forget_token, read_token
from houyi.main.commands import whole_app
from houyi.model.errors import Invalid


def test_a_join_token_comes_from_a_file_or_from_stdin(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hyj_file\n")
    assert read_token(file, io.StringIO("hyj_stdin")) == "hyj_file"
    assert read_token(Path("-"), io.StringIO("hyj_stdin\n")) == "hyj_stdin"


def test_without_a_file_there_is_no_token(tmp_path: Path) -> None:
    """`houyi up` names the file at every start; a host that has joined needs none."""
    assert read_token(None, io.StringIO("hyj_stdin")) == ""
    assert read_token(tmp_path / "none", io.StringIO("hyj_stdin")) == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["a folder", "not text"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path
    if content is not None:
        path = tmp_path / "token"
        path.write_bytes(content)
    with pytest.raises(Invalid, match="cannot be read from") as caught:
        read_token(path, io.StringIO())
    assert caught.value.code == "join_file_unreadable"


def test_no_command_takes_a_join_token_as_an_argument() -> None:
    """Arguments are in the list of processes, which every user of the machine may read."""
    parameters = whole_app()["agent"].assemble_argument_collection()
    assert {name for argument in parameters for name in argument.names} == {"--join-file"}


def test_the_file_of_a_used_token_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hyj_file")
    for _ in range(2):  # gone already is fine
        forget_token(file)
        assert not file.exists()
    forget_token(None)
    forget_token(Path("-"))
    forget_token(tmp_path)  # what cannot be removed stays
    assert tmp_path.exists()
