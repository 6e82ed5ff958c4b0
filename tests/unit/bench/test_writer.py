"""What the benchmark makes of what its guest says."""

import pytest

from migration.writer import delay, disk, heard, longest_gap, pace


def count(pages: int) -> bytes:
    return b"<" + bytes(0x40 | int(nibble, 16) for nibble in f"{pages:08x}")


def test_beats_and_counts_of_two_ports_are_one_story() -> None:
    pieces = [(1.0, 0, b"\x81" + count(300)[:4]), (1.001, 0, count(300)[4:]), (1.2, 1, b"\x82" + count(400)), (1.1, 0, b"\x83")]
    found = heard(pieces)
    assert found.beats == (1.0, 1.1, 1.2)
    assert found.counts == ((1.001, 300), (1.2, 400))


def test_a_count_that_a_switch_tears_apart_is_dropped() -> None:
    assert heard([(1.0, 0, count(1)[:5]), (1.1, 1, count(2)[5:] + count(3))]).counts == ((1.1, 3),)


def test_the_counter_of_32_bits_runs_over() -> None:
    assert [pages for _, pages in heard([(1.0, 0, count(0xFFFFFFF0) + count(16))]).counts] == [0xFFFFFFF0, (1 << 32) + 16]


def test_the_longest_gap_counts_from_the_last_beat_before() -> None:
    assert longest_gap((0.0, 1.0, 1.5, 4.0), 0.9, 2.0) == 1.0
    assert longest_gap((0.0, 1.0, 1.5, 4.0), 1.2, 5.0) == 2.5
    assert longest_gap((), 0.0, 1.0) == 0.0


def test_pace() -> None:
    counts = ((0.0, 0), (1.0, 100), (2.0, 400), (3.0, 500))
    assert pace(counts, 1.0, 2.0) == 300.0
    assert pace(counts, 0.5, 2.5) == pytest.approx(500 / 3)
    assert pace((), 0.0, 1.0) == 0.0


def test_what_is_sent_and_booted() -> None:
    assert delay(0x1A2) == b"@@@@@AJB!"
    assert disk(64)[0x1F6:0x200] == (512).to_bytes(4, "little") + (64 << 8).to_bytes(4, "little") + b"\x55\xaa"
    assert disk(64, 1.0)[0x1F6:0x1FA] == (1024).to_bytes(4, "little")
