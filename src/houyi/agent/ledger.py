"""The agent's memory on disk: the last desired snapshot, one record a VM and one a move. It survives kill -9 and power loss.

One small file a record, replaced atomically and synced: a VM's record changes a few times in its life, and a damaged file then concerns
one VM. (A database would be another process-wide lock and another migration to keep, for the same guarantee.)
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from houyi.base.log import get_log
from houyi.model.ids import ExperimentId, MigrationId, VmId
from houyi.planning.lifecycle import Memory
from houyi.planning.migration.ends import MoveMemory
from houyi.wire.agents import Desired, decode_down, encode

log = get_log(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedRecord:
    """What was there before a knob of the host was first set."""

    before: dict[str, str]
    """As `Tuner.restore` needs it."""
    shown: str
    """As people read it."""


class Ledger:
    """`folder` belongs to the agent alone (mode 0700)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vms = folder / "vms"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # user data of VMs is in it
        self._vms.mkdir(mode=0o700, exist_ok=True)
        self._moves_folder = folder / "moves"
        self._moves_folder.mkdir(mode=0o700, exist_ok=True)
        self._trials_folder = folder / "trials"
        self._trials_folder.mkdir(mode=0o700, exist_ok=True)
        self._tuned_folder = folder / "tuned"
        self._tuned_folder.mkdir(mode=0o700, exist_ok=True)
        self._tuned = _read_records(self._tuned_folder, TunedRecord)
        self._desired = self._read_desired()
        self._memories = {VmId(name): memory for name, memory in _read_records(self._vms, Memory).items()}
        self._moves = {MigrationId(name): memory for name, memory in _read_records(self._moves_folder, MoveMemory).items()}
        self._trials = {ExperimentId(name): number for name, number in _read_records(self._trials_folder, int).items()}

    @property
    def desired(self) -> Desired | None:
        """The newest snapshot; None: never heard of a server."""
        return self._desired

    @property
    def memories(self) -> Mapping[VmId, Memory]:
        return MappingProxyType(self._memories)

    @property
    def moves(self) -> Mapping[MigrationId, MoveMemory]:
        """Moves that this host is or was an end of, until they are forgotten."""
        return MappingProxyType(self._moves)

    def keep_move(self, move_id: MigrationId, memory: MoveMemory) -> None:
        """:raise OSError: as below."""
        if self._moves.get(move_id) == memory:
            return
        _replace(self._moves_folder / move_id, msgspec.json.encode(memory))
        self._moves[move_id] = memory

    def forget_move(self, move_id: MigrationId) -> None:
        """When its end is told nothing of it any more."""
        self._moves.pop(move_id, None)
        with contextlib.suppress(FileNotFoundError):
            (self._moves_folder / move_id).unlink()

    @property
    def trials(self) -> Mapping[ExperimentId, int]:
        """Of experiments that are or were asked for here: the number of the last trial that was begun."""
        return MappingProxyType(self._trials)

    def keep_trial(self, experiment_id: ExperimentId, number: int) -> None:
        """Before it begins. :raise OSError: as below."""
        _replace(self._trials_folder / experiment_id, msgspec.json.encode(number))
        self._trials[experiment_id] = number

    def forget_trial(self, experiment_id: ExperimentId) -> None:
        """When no trial of it is asked for any more."""
        self._trials.pop(experiment_id, None)
        with contextlib.suppress(FileNotFoundError):
            (self._trials_folder / experiment_id).unlink()

    @property
    def tuned(self) -> Mapping[str, TunedRecord]:
        """Knobs of this host that we have set, until they are put back."""
        return MappingProxyType(self._tuned)

    @property
    def moving(self) -> frozenset[VmId]:
        """VMs that a move holds."""
        return frozenset(vm_id for vm_id, memory in self._memories.items() if memory.moving)

    def keep_tuned(self, knob: str, before: Mapping[str, str], shown: str) -> None:
        """Before its first change. :raise OSError: as below."""
        record = TunedRecord(before=dict(before), shown=shown)
        _replace(self._tuned_folder / knob, msgspec.json.encode(record))
        self._tuned[knob] = record

    def forget_tuned(self, knob: str) -> None:
        """When it has been put back."""
        self._tuned.pop(knob, None)
        with contextlib.suppress(FileNotFoundError):
            (self._tuned_folder / knob).unlink()

    def keep_desired(self, desired: Desired) -> None:
        """:raise OSError: the disk is full or broken; the old snapshot is still there."""
        _replace(self._folder / "desired", encode(desired))
        self._desired = desired

    def keep(self, vm_id: VmId, memory: Memory) -> None:
        """Write a VM's record if it has changed. :raise OSError: as above."""
        if self._memories.get(vm_id) == memory:
            return
        _replace(self._vms / vm_id, msgspec.json.encode(memory))
        self._memories[vm_id] = memory

    def forget(self, vm_id: VmId) -> None:
        """When the server has forgotten it as well."""
        self._memories.pop(vm_id, None)
        with contextlib.suppress(FileNotFoundError):
            (self._vms / vm_id).unlink()

    def forget_parted(self, before: float) -> None:
        """VMs that have left this host so long ago. :param before: Unix seconds."""
        for vm_id in [vm_id for vm_id, memory in self._memories.items() if not memory.moving and 0 < memory.parted_at < before]:
            self.forget(vm_id)

    def _read_desired(self) -> Desired | None:
        try:
            message = decode_down((self._folder / "desired").read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            log.error("ledger_desired_unreadable", error=str(error))
            return None
        return message if isinstance(message, Desired) else None


def _read_records(folder: Path, kind: type[T]) -> dict[str, T]:
    """Record by name. A damaged one is told and left out: it concerns one VM."""
    found: dict[str, T] = {}
    for path in folder.iterdir():
        if path.suffix == ".new":
            path.unlink()
            continue
        try:
            found[path.name] = msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            log.error("ledger_record_unreadable", record=path.name, error=str(error))
    return found


def _replace(path: Path, data: bytes) -> None:
    """Atomically and durably: the new content, or the old one, never a part."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
