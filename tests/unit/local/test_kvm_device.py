import grp
import os
from pathlib import Path

import pytest

from houyi.local.kvm_device import closed_to_qemu, open_to_qemu


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


OURS = grp.getgrgid(os.getegid()).gr_name
"""A group that we may give files to, whoever we are."""


@pytest.mark.parametrize(("mode", "closed"), [(0o660, False), (0o666, False), (0o600, True), (0o640, True), (0o606, False)])
def test_its_group_needs_both(device: Path, mode: int, closed: bool) -> None:
    device.chmod(mode)
    assert closed_to_qemu(device, OURS) is closed


def test_what_is_closed_is_opened_and_nothing_else_changes(device: Path) -> None:
    device.chmod(0o600)
    open_to_qemu(device, OURS)
    assert not closed_to_qemu(device, OURS)
    assert device.stat().st_mode & 0o777 == 0o660
    assert device.stat().st_uid == os.geteuid()


def test_what_is_right_is_left(device: Path) -> None:
    device.chmod(0o666)
    open_to_qemu(device, OURS)
    assert device.stat().st_mode & 0o777 == 0o666


def test_another_group_is_replaced(device: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files to any group")
    device.chmod(0o660)
    os.chown(device, -1, grp.getgrnam("nogroup").gr_gid)
    assert closed_to_qemu(device, OURS)
    open_to_qemu(device, OURS)
    assert device.stat().st_gid == os.getegid()


def test_without_device_or_group_there_is_nothing_to_do(tmp_path: Path, device: Path) -> None:
    assert not closed_to_qemu(tmp_path / "absent", OURS)
    device.chmod(0o600)
    assert not closed_to_qemu(device, "no-such-group")
    open_to_qemu(tmp_path / "absent", OURS)
