"""The container's limits, in both versions of control groups; the folders are plain here."""

from pathlib import Path

import pytest

from houyi.local.evaluation.groups import hierarchy, make_groups
from houyi.model.errors import Failed


async def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    made = await make_groups("bench-1", 2, 512, tmp_path)
    assert made.folders == (tmp_path / "bench-1",)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert {file.name: file.read_text() for file in made.folders[0].iterdir()} == {"cpu.max": "200000 100000", "memory.max": str(512 << 20)}


async def test_version_1(tmp_path: Path) -> None:
    for name in ("cpu", "memory"):
        (tmp_path / name).mkdir()
    made = await make_groups("bench-1", 1, 256, tmp_path)
    assert made.folders == (tmp_path / "cpu/bench-1", tmp_path / "memory/bench-1")
    assert (tmp_path / "cpu/bench-1/cpu.cfs_quota_us").read_text() == "100000"
    assert (tmp_path / "memory/bench-1/memory.limit_in_bytes").read_text() == str(256 << 20)


async def test_no_container_without_limits(tmp_path: Path) -> None:
    with pytest.raises(Failed) as refused:
        await make_groups("bench-1", 1, 256, tmp_path)
    assert refused.value.code == "cgroup_unavailable"


async def test_what_is_mounted_is_used(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    async with hierarchy(tmp_path / "own", tmp_path) as root:
        assert root == tmp_path
    assert not (tmp_path / "own").exists()
