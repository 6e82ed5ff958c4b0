"""Images as JSON."""

from collections.abc import Mapping

from pydantic import Field

from houyi.model.image import DiskFormat, ImageState
from houyi.model.image import Image as ModelImage
from houyi.wire.v1.shape import Asked, Bool, Failure, Id, Int, Page, Revision, Shown, Text, Time, failure, rfc3339


class ImageCreate(Asked):
    """An image to import. With a url the server downloads it; without, its content is uploaded next (PUT .../content)."""

    name: Text = Field(description="RFC 1123 label, unique in the project.")
    url: Text = Field("", description="http(s) URL; empty: the content is uploaded.")
    format: DiskFormat | None = Field(None, description="Null: detected from the content.")
    sha256: Text = Field("", description="Expected SHA-256 of the content in hex; empty: not checked.")
    os: Text = Field("", description="What is in it, as a hint for people.")
    public: Bool = Field(False, description="Let every project use it (administrators only).")
    min_memory_mib: Int = Field(0, ge=0, le=1 << 32)
    min_disk_gib: Int = Field(0, ge=0, le=1 << 32)


class ImageUpdate(Asked):
    """What to change; a field that is missing or null stays."""

    name: Text | None = None
    public: Bool | None = None
    os: Text | None = None


class Image(Shown):
    id: Id
    name: str
    project_id: Id
    project_name: str
    state: ImageState
    error: Failure | None
    format: DiskFormat | None = Field(description="As found in the content; before that as asked.")
    size_bytes: int
    virtual_size_bytes: int = Field(description="Size of the disk that it describes.")
    sha256: str = Field(description="Of the content; empty until it is checked.")
    expected_sha256: str
    received_bytes: int = Field(description="Where an upload goes on.")
    url: str
    os: str
    public: bool
    min_memory_mib: int
    min_disk_gib: int
    created_at: Time
    revision: Revision


class ImagePage(Page[Image]):
    """A page of images."""


class ImageContent(Shown):
    """How much of an image's content was received: where an upload goes on."""

    state: ImageState
    received_bytes: int


def show_image(image: ModelImage, names: Mapping[str, str]) -> Image:
    """:param names: id to name of its project."""
    spec, status = image.spec, image.status
    return Image(
        id=image.id,
        name=image.name,
        project_id=image.project_id,
        project_name=names.get(image.project_id, ""),
        state=status.state,
        error=failure(status.error),
        format=status.format or spec.format,
        size_bytes=status.size_bytes,
        virtual_size_bytes=status.virtual_size_bytes,
        sha256=status.sha256,
        expected_sha256=spec.sha256,
        received_bytes=status.received_bytes,
        url=spec.url,
        os=spec.os,
        public=spec.public,
        min_memory_mib=spec.min_memory_mib,
        min_disk_gib=spec.min_disk_gib,
        created_at=rfc3339(image.created_at),
        revision=image.revision,
    )
