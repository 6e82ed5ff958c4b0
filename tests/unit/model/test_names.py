import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.errors import Invalid
from houyi.model.names import check_name, is_id

LABEL = re.compile(r"\A(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


@given(st.text(max_size=70) | st.text("abz019-.", max_size=70) | st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True))
def test_a_name_is_an_rfc_1123_label(name: str) -> None:
    if LABEL.match(name) and not is_id(name):
        assert check_name(name) == name
    else:
        with pytest.raises(Invalid) as refused:
            check_name(name)
        assert refused.value.code == "name_invalid"
        assert len(refused.value.detail) < 400


@given(st.uuids())
def test_what_looks_like_an_id_is_no_name(uuid: object) -> None:
    with pytest.raises(Invalid, match="looks like an id"):
        check_name(str(uuid))


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a_b", "a\n", "ä", "a" * 64, "a b"])
def test_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)
