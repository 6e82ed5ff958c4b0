"""`houyi image`: disk images. Building images on this machine is `houyi image build`, which the front door adds."""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.output import Column, Format, note, show_list, show_object, write_data
from houyi.cli.progress import Shown, follow, shown
from houyi.cli.quantities import show_age, show_bytes
from houyi.cli.session import OPTIONS, WAITING, Options, Waiting, connect, dig, everything, noun
from houyi.model.errors import Conflict, Failed, Invalid, Unavailable
from houyi.model.image import DiskFormat
from houyi.sdk.paths import path
from houyi.sdk.upload import RESUMES, Part, broken, size_of

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

app = noun("image", "Disk images that VMs start from: import, see, delete.")

Name = Annotated[str, Parameter(help="Name or id of the image.")]


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda image: str(image["name"])),
        Column("STATE", lambda image: str(image["state"]), paint=True),
        Column("FORMAT", lambda image: str(dig(image, "format") or "-")),
        Column("SIZE", lambda image: show_bytes(dig(image, "size_bytes", 0)), right=True),
        Column("DISK", lambda image: show_bytes(dig(image, "virtual_size_bytes", 0)), right=True),
        Column("OS", lambda image: str(dig(image, "os") or "-")),
        Column("PUBLIC", lambda image: "yes" if image.get("public") else "no"),
        Column("AGE", lambda image: show_age(image.get("created_at"), now), right=True),
    )


@app.command(name="list")
def list_images(*, options: Options = OPTIONS) -> None:
    """List images, one's own and public ones."""
    with connect(options) as api:
        rows = everything(api, path("images"))
    show_list(rows, columns(time.time()), options.output, empty="no images: `houyi image import NAME --file PATH`, or `houyi image build tiny`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show everything about an image."""
    with connect(options) as api:
        image = api.request("GET", path("images", name))
    facts = [
        ("name", str(image["name"])),
        ("id", str(image["id"])),
        ("state", str(image["state"])),
        ("error", f"{dig(image, 'error.detail')} ({dig(image, 'error.code')})" if image.get("error") else ""),
        ("format", str(dig(image, "format"))),
        ("size", show_bytes(dig(image, "size_bytes", 0))),
        ("disk", show_bytes(dig(image, "virtual_size_bytes", 0))),
        ("received", show_bytes(dig(image, "received_bytes", 0))),
        ("sha256", str(dig(image, "sha256"))),
        ("from", str(dig(image, "url") or "an upload")),
        ("os", str(dig(image, "os"))),
        ("public", "yes" if image.get("public") else "no"),
        ("age", show_age(image.get("created_at"), time.time())),
    ]
    show_object(image, facts, options.output)


@app.command(name="import")
def import_image(
    name: Annotated[str, Parameter(help="Name of the new image, or of one whose upload broke off.")],
    /,
    *,
    file: Annotated[Path | None, Parameter(help="A disk image on this machine, to be uploaded.")] = None,
    url: Annotated[str, Parameter(help="An http(s) URL, to be downloaded by the server.")] = "",
    format: Annotated[DiskFormat | None, Parameter(help="What it is; without it, it is detected from its first bytes.")] = None,
    sha256: Annotated[str, Parameter(help="Its expected SHA-256; for a file it is computed when not given.")] = "",
    os: Annotated[str, Parameter(help="What is in it, as a hint: debian, tiny, windows ...")] = "",
    public: Annotated[bool, Parameter(negative=(), help="Let every project use it (administrators only).")] = False,
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Import an image from a file or a URL. An upload that broke off is gone on with when the same command is given again."""
    if (file is None) == (not url):
        raise Invalid("image_source", "say where the image comes from: either --file PATH or --url URL")
    spec = {"name": name, "url": url, "format": format, "sha256": sha256.lower(), "os": os, "public": public}
    if file is not None:
        size_of(file)
        spec["sha256"] = spec["sha256"] or _digest(file)
    body = {key: value for key, value in spec.items() if value}
    with connect(options) as api:
        if file is None:
            operation = follow(api, api.request("POST", path("images"), body=body), waiting, f"import {name}")
        else:
            operation = _upload(api, name, body, file, waiting)
        if options.output is not Format.TABLE:
            write_data(operation, options.output)
        elif waiting.wait:
            note(f"{name} is available: `houyi vm create NAME --image {name} --type c1.small`")


def _upload(api: "Transport", name: str, body: dict[str, Any], file: Path, waiting: Waiting) -> dict[str, Any]:
    operation = _registered(api, name, body)
    where = path("images", str(operation["target_id"]))
    with shown(f"upload {name}") as bar:
        for attempt in range(RESUMES):
            part = Part.of(file, int(dig(api.request("GET", where), "received_bytes", 0)))
            try:
                api.upload(f"{where}/content", part.chunks(lambda sent, total: _tell(bar, sent, total)), headers=part.headers)
                break
            except Unavailable as error:
                reason = error.detail
                time.sleep(1.0 + attempt)
        else:
            raise broken(reason)
    return follow(api, api.request("GET", path("operations", str(operation["id"]))), waiting, f"import {name}")


def _tell(bar: Shown, sent: int, total: int) -> None:
    bar.update(sent / total, f"{show_bytes(sent)} of {show_bytes(total)}" if sys.stderr.isatty() else "sending")


def _registered(api: "Transport", name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The import's operation: a new one, or that of the same image whose upload broke off."""
    try:
        return dict(api.request("POST", path("images"), body=body))
    except Conflict as taken:
        if taken.code != "name_taken":
            raise
        image = api.request("GET", path("images", name))
        same = image["state"] == "waiting" and dig(image, "expected_sha256") == body["sha256"]
        open_ones = everything(api, path("operations"), target=str(image["id"]), open=True) if same else []
        if not open_ones:
            raise
        note(f"going on with {name} at {show_bytes(dig(image, 'received_bytes', 0))}")
        return open_ones[0]


def _digest(file: Path) -> str:
    """:raise Failed: `file_unreadable`."""
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise Failed("file_unreadable", f"cannot read {file}: {error.strerror}") from None


@app.command
def delete(
    name: Name,
    /,
    *,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False,
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Delete an image that no VM was made from."""
    sure(f"delete image {name!r}?", yes)
    with connect(options) as api:
        operation = follow(api, api.request("DELETE", path("images", name)), waiting, f"delete {name}")
    if options.output is not Format.TABLE:
        write_data(operation, options.output)
    elif waiting.wait:
        note(f"{name} is deleted")
