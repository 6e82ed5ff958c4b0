"""A disk image: where it comes from, what was found in it, and whether it may be used. An image is hostile until inspected.

waiting -> receiving -> checking -> available
   \\__________\\___________\\-----> refused | failed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from houyi.model.errors import Problem
from houyi.model.ids import ImageId, ProjectId


class DiskFormat(StrEnum):
    """Formats that may be imported. VMs only ever see QCOW2 overlays over an image stored as QCOW2 or RAW."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"
    VHD = "vhd"
    """QEMU calls it 'vpc'."""
    VHDX = "vhdx"


class ImageState(StrEnum):
    WAITING = "waiting"
    """Registered; its content has still to be uploaded."""
    RECEIVING = "receiving"
    CHECKING = "checking"
    AVAILABLE = "available"
    REFUSED = "refused"
    """Its content is not acceptable; it will never be used."""
    FAILED = "failed"
    """It could not be received: whoever still wants it makes another image."""


NEXT: Mapping[ImageState, frozenset[ImageState]] = {
    ImageState.WAITING: frozenset({ImageState.RECEIVING, ImageState.FAILED}),
    ImageState.RECEIVING: frozenset({ImageState.CHECKING, ImageState.FAILED, ImageState.REFUSED, ImageState.WAITING}),
    ImageState.CHECKING: frozenset({ImageState.AVAILABLE, ImageState.REFUSED, ImageState.FAILED}),
    ImageState.AVAILABLE: frozenset(),
    ImageState.REFUSED: frozenset(),
    ImageState.FAILED: frozenset(),
}
"""Which state may follow which; staying is always allowed. The store refuses any other (`store.rows.image`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What was asked. `url` empty means that the content is uploaded."""

    url: str = ""
    format: DiskFormat | None = None
    """As given by the user; None: detected from the content's magic, and only among DiskFormat."""
    sha256: str = ""
    """Expected; empty: not checked, only recorded."""
    os: str = ""
    """Hint for people and defaults: 'debian', 'tiny', 'windows' ..."""
    public: bool = False
    """Readable by every project (administrators only may set it)."""
    min_memory_mib: int = 0
    min_disk_gib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatus:
    """What is true of the content."""

    state: ImageState = ImageState.WAITING
    format: DiskFormat | None = None
    """Decided once by inspection, stored, and passed explicitly to every tool from then on."""
    size_bytes: int = 0
    virtual_size_bytes: int = 0
    sha256: str = ""
    received_bytes: int = 0
    error: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    id: ImageId
    project_id: ProjectId
    name: str
    spec: ImageSpec
    status: ImageStatus
    created_at: float
    revision: int
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredImage:
    """What a host must know to keep a copy of an available image."""

    id: ImageId
    format: DiskFormat
    size_bytes: int
    virtual_size_bytes: int
    sha256: str
