"""The text of a join token: read back as it was written."""

import hashlib

import pytest

from houyi.model.errors import Invalid
from houyi.model.ids import JoinTokenId
from houyi.model.join_token import JoinTokenText, ca_fingerprint


@pytest.mark.parametrize("text", ["", "hyj", "hy_a_b_c", "hyj_id_short_secret", f"hyj_id_{'0' * 32}_"])
def test_what_is_no_join_token(text: str) -> None:
    with pytest.raises(Invalid):
        JoinTokenText.parse(text)


def test_a_secret_may_hold_what_it_likes() -> None:
    token = JoinTokenText(JoinTokenId("id"), ca_fingerprint(b"certificate"), "a_b-c")
    assert str(token) == f"hyj_id_{hashlib.sha256(b'certificate').hexdigest()[:32]}_a_b-c"
    assert JoinTokenText.parse(f" {token}\n") == token


def test_a_log_of_it_tells_no_secret() -> None:
    assert "a_b-c" not in repr(JoinTokenText(JoinTokenId("id"), "0" * 32, "a_b-c"))
