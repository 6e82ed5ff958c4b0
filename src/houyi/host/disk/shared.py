"""Folders that several hosts see: known as the same by an id in a marker file, and looked for each time, since what a mount point shows without its mount is another folder."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from houyi.base.log import get_log
from houyi.model.errors import Failed, Unavailable
from houyi.model.names import is_id
from houyi.model.vm import LOCAL, DesiredVm

log = get_log(__name__)

MARKER = ".houyi-storage"


def storage_ids(folders: Mapping[str, Path]) -> dict[str, str]:
    """Name -> id of those that are there. A mount without a marker gets one, from whichever host comes first; a plain folder does not: what should be mounted on it may be missing."""
    found = {}
    for name, folder in folders.items():
        try:
            found[name] = _id_of(folder)
        except (OSError, ValueError) as error:
            log.warning("storage_away", storage=name, folder=str(folder), error=str(error))
    return found


def _id_of(folder: Path) -> str:
    """:raise OSError: it is not there, or cannot be read. :raise ValueError: nothing is mounted there, and it has no marker; or that is not ours."""
    marker = folder / MARKER
    if not marker.exists():
        if not folder.is_mount():
            raise ValueError(f"nothing is mounted at {folder}; if the folder itself is meant, write an id into it: `uuidgen > {marker}`")
        new = folder / f"{MARKER}.{uuid.uuid4()}"
        new.write_text(f"{uuid.uuid4()}\n")
        try:
            os.link(new, marker)  # of several hosts at once one succeeds, on NFS too
        except FileExistsError:
            pass
        finally:
            new.unlink()
    found = marker.read_text().strip()
    if not is_id(found):
        raise ValueError(f"{marker} holds no id: remove it if the folder is to be used")
    return found


class SharedFolders:
    """`folders`: by name, as the settings say. What is in them is known by the ids that were there when we began."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._ids = storage_ids(folders)

    def disk(self, vm: DesiredVm) -> Path | None:
        """Where the VM's disk is; None: on the host's own.

        :raise Failed: `storage_unknown`: this host has no such folder. :raise Unavailable: `storage_away`: it is not mounted, or another is.
        """
        name = vm.spec.storage
        if name == LOCAL:
            return None
        folder = self._folders.get(name)
        if folder is None:
            raise Failed("storage_unknown", f"this host has no shared folder {name!r}: name it in agent.shared_dirs")
        now = storage_ids({name: folder}) if (folder / MARKER).exists() else {}
        if name not in now or now[name] != self._ids.setdefault(name, now[name]):
            raise Unavailable("storage_away", f"shared folder {name!r} is not at {folder}: mount it")
        return folder / f"{vm.id}.qcow2"
