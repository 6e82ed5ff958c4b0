"""Folders that hosts share: the same id on all of them, and never a folder in the place of one that is not mounted."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from houyi.host.disk.shared import MARKER, SharedFolders, storage_ids
from houyi.model.errors import Failed, Unavailable
from houyi.model.vm import DesiredVm
from made import a_vm, an_image


class Mounted(type(Path())):  # type: ignore[misc]
    """A folder on which something is mounted."""

    def is_mount(self) -> bool:
        return True


def on(storage: str) -> DesiredVm:
    vm = a_vm(an_image())
    return replace(vm, spec=replace(vm.spec, storage=storage))


def test_whichever_host_comes_first_writes_the_id_and_all_read_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as hosts:
        found = list(hosts.map(lambda _: storage_ids({"fast": Mounted(tmp_path)}), range(16)))
    assert len({one["fast"] for one in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_nothing_is_written_where_nothing_is_mounted(tmp_path: Path) -> None:
    assert storage_ids({"fast": tmp_path, "gone": tmp_path / "gone"}) == {}
    assert list(tmp_path.iterdir()) == []
    (tmp_path / MARKER).write_text("hello\n")
    assert storage_ids({"fast": tmp_path}) == {}
    one = str(uuid.uuid4())
    (tmp_path / MARKER).write_text(f"{one}\n")
    assert storage_ids({"fast": tmp_path}) == {"fast": one}


def test_where_a_disk_is(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(str(uuid.uuid4()))
    folders = SharedFolders({"fast": tmp_path})
    vm = on("fast")
    assert folders.disk(vm) == tmp_path / f"{vm.id}.qcow2"
    assert folders.disk(on("local")) is None
    with pytest.raises(Failed) as unknown:
        folders.disk(on("slow"))
    assert unknown.value.code == "storage_unknown"


@pytest.mark.parametrize("instead", ["", "00000000-0000-4000-8000-0000000000ff"])
def test_another_folder_in_its_place_is_not_used(tmp_path: Path, instead: str) -> None:
    """Unmounted, or something else mounted there, while we run."""
    marker = tmp_path / MARKER
    marker.write_text(str(uuid.uuid4()))
    folders = SharedFolders({"fast": tmp_path})
    folders.disk(on("fast"))
    marker.unlink()
    if instead:
        marker.write_text(instead)
    with pytest.raises(Unavailable) as away:
        folders.disk(on("fast"))
    assert away.value.code == "storage_away"


def test_mounted_later_it_is_used(tmp_path: Path) -> None:
    folders = SharedFolders({"fast": tmp_path})
    with pytest.raises(Unavailable):
        folders.disk(on("fast"))
    (tmp_path / MARKER).write_text(str(uuid.uuid4()))
    assert folders.disk(on("fast")) is not None
