"""libvirt's statistics of a resting guest as a sample."""

from pathlib import Path
from typing import Any

import libvirt
import pytest

from houyi.host.libvirt.sampled import allocated_mib, begin_sample, sample_of
from houyi.model.ids import VmId

RATE = {"dirtyrate.calc_status": libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED, "dirtyrate.megabytes_per_second": 12}


@pytest.mark.parametrize(
    ("balloon", "memory_mib"),
    [
        ({}, 0.0),
        ({"balloon.rss": 200 << 10}, 200.0),
        ({"balloon.rss": 200 << 10, "balloon.available": 900 << 10, "balloon.unused": 800 << 10}, 100.0),
        ({"balloon.rss": 200 << 10, "balloon.available": 900 << 10}, 200.0),
        ({"balloon.rss": 200 << 10, "balloon.available": 0, "balloon.unused": 0}, 200.0),
    ],
)
def test_memory_in_use(balloon: dict[str, Any], memory_mib: float) -> None:
    found = sample_of(VmId("v"), RATE | balloon, 4.0)
    assert found is not None
    assert (found.dirty_mib_s, found.seconds, found.memory_mib) == (12.0, 4.0, memory_mib)


def test_not_measured_yet() -> None:
    assert sample_of(VmId("v"), {"dirtyrate.calc_status": libvirt.VIR_DOMAIN_DIRTYRATE_MEASURING, "balloon.rss": 1}, 1.0) is None


def test_what_a_disk_takes_up(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    assert allocated_mib(disk) == 0.0
    with disk.open("wb") as file:
        file.write(b"x" * (2 << 20))
        file.truncate(1 << 30)
    assert 2.0 <= allocated_mib(disk) < 4.0


class OldQemu:
    """As libvirt shows a domain whose QEMU has no idea of parts of a second."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def startDirtyRateCalc(self, seconds: int, mode: int) -> None:  # noqa: N802 - libvirt's
        self.asked.append(seconds)


@pytest.mark.parametrize(("seconds", "span"), [(1.0, 1), (3.6, 4), (4000.0, 60)])
def test_whole_seconds_are_libvirts(seconds: float, span: int) -> None:
    domain = OldQemu()
    assert begin_sample(domain, seconds) == span
    assert domain.asked == [span]
