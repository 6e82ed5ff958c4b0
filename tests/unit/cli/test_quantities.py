"""Sizes, times, labels and NICs as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.cli import quantities as q

UNITS = {"": 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4}


@given(st.integers(0, 10**6), st.sampled_from(["Ki", "Mi", "Gi", "Ti"]), st.sampled_from(["", " "]))
def test_binary_units(number: int, unit: str, space: str) -> None:
    size = number * 1024 ** UNITS[unit]
    for text in (f"{number}{space}{unit}B", f"{number}{space}{unit[0]}", f"{number}{space}{unit.lower()}b", f"{number}{unit}"):
        assert q.parse_bytes(text) == size


@given(st.integers(0, 10**6), st.sampled_from("KMGT"))
def test_decimal_units(number: int, unit: str) -> None:
    assert q.parse_bytes(f"{number}{unit}B") == number * 1000 ** "_KMGT".index(unit)


@pytest.mark.parametrize(("text", "mib"), [("512", 512), ("512MiB", 512), ("4GiB", 4096), ("4G", 4096), ("1.5GiB", 1536), ("0.5g", 512), ("1 GiB", 1024)])
def test_memory(text: str, mib: int) -> None:
    assert q.parse_memory_mib(text) == mib


@pytest.mark.parametrize(("text", "gib"), [("10", 10), ("10GiB", 10), ("1T", 1024), ("2048MiB", 2)])
def test_disks(text: str, gib: int) -> None:
    assert q.parse_disk_gib(text) == gib


@pytest.mark.parametrize(
    "text", ["", " ", "GiB", "-1GiB", "1e3", "1PiB", "1,5GiB", "1iB", "1i", "٣GiB", "1GiBB", "0", "0MiB", "100KiB", "1.3", "1MB", "nan", "inf"]
)
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole number|bytes"):
        q.parse_memory_mib(text)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_a_sentence(text: str) -> None:
    try:
        size = q.parse_bytes(text)
    except ValueError as wrong:
        refusal = str(wrong)
    else:
        refusal = ""
        assert size >= 0
    assert not refusal or re.search(r"is not a size|no whole number", refusal)


@given(st.integers(0, 1 << 60))
def test_a_shown_size_is_near_and_short(size: int) -> None:
    text = q.show_bytes(size)
    number, unit = text.split()
    assert len(number) <= 4 or unit == "TiB"
    assert abs(float(number) * 1024 ** UNITS[unit.removesuffix("B")] - size) <= 0.06 * size


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 29, "512 MiB"), ((1 << 30) - 1, "1 GiB")])
def test_shown_sizes(size: int, text: str) -> None:
    assert q.show_bytes(size) == text


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("0", 0)])
def test_times(text: str, seconds: float) -> None:
    assert q.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "9" * 400, "nan"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        q.parse_seconds(text)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_longer_is_never_shown_as_shorter_in_the_same_unit(a: float, b: float) -> None:
    low, high = (q.show_seconds(x) for x in sorted((a, b)))
    if low[-1] == high[-1]:
        assert int(low[:-1]) <= int(high[:-1])


NOW = q.moment("2026-11-23T08:00:00.000Z")


@pytest.mark.parametrize(
    ("at", "age"),
    [
        (None, "-"),
        ("2026-11-23T07:59:55.000Z", "5s"),
        ("2026-11-23T07:58:01.000Z", "119s"),
        ("2026-11-23T07:57:00.000Z", "3m"),
        ("2026-11-20T08:00:00.000Z", "3d"),
        ("2026-11-23T09:00:00.000Z", "0s"),
    ],
)
def test_ages(at: str | None, age: str) -> None:
    assert q.show_age(at, NOW) == age


def test_what_is_left() -> None:
    assert q.show_left(None, NOW) == "never"
    assert q.show_left("2026-11-23T07:00:00.000Z", NOW) == "over"
    assert q.show_left("2026-11-23T10:00:00.000Z", NOW) == "2h"


KEYS = st.text(st.characters(blacklist_characters="=", blacklist_categories=["Cs"]), min_size=1, max_size=8)


@given(st.dictionaries(KEYS, st.text(max_size=8), max_size=5))
def test_pairs_survive(pairs: dict[str, str]) -> None:
    assert q.parse_pairs(f"{key}={value}" for key, value in pairs.items()) == pairs


@pytest.mark.parametrize("text", ["novalue", "=x", ""])
def test_what_is_no_pair(text: str) -> None:
    with pytest.raises(ValueError, match="KEY=VALUE"):
        q.parse_pairs([text])


@pytest.mark.parametrize(("text", "nic"), [("lan", {"network": "lan"}), ("lan,address=10.0.0.7", {"network": "lan", "address": "10.0.0.7"})])
def test_nics(text: str, nic: dict[str, str]) -> None:
    assert q.parse_nic(text) == nic


@pytest.mark.parametrize("text", ["", ",", ",address=1", "lan,", "lan,ip=1", "address=1", "lan,address", "lan,network=b"])
def test_what_is_no_nic(text: str) -> None:
    with pytest.raises(ValueError, match=r"NETWORK|KEY=VALUE"):
        q.parse_nic(text)
