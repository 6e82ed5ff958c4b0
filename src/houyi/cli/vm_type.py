"""`houyi vm-type`: named sizes."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.output import Column, show_list, show_object
from houyi.cli.quantities import show_age, show_gib, show_mib
from houyi.cli.session import OPTIONS, DiskGib, MemoryMib, Options, connect, dig, everything, noun
from houyi.model.errors import Invalid
from houyi.sdk.paths import path

app = noun("vm-type", "Sizes of VMs by name, such as c1.small. Changing one does not change VMs that were made from it.")

Name = Annotated[str, Parameter(help="Name or id of the type.")]
Vcpus = Annotated[int, Parameter(help="Number of virtual CPUs.")]
Memory = Annotated[MemoryMib, Parameter(help="Such as 512MiB or 4GiB.")]
Profile = Annotated[str, Parameter(help="Tuning profile of VMs that are made from it (`houyi tune profiles`); '' for none.", show_default=False)]
Disk = Annotated[DiskGib, Parameter(help="Such as 10GiB.")]

COLUMNS: Sequence[Column] = (
    Column("NAME", lambda kind: str(kind["name"])),
    Column("VCPUS", lambda kind: str(kind["vcpus"]), right=True),
    Column("MEMORY", lambda kind: show_mib(kind["memory_mib"]), right=True),
    Column("DISK", lambda kind: show_gib(kind["disk_gib"]), right=True),
    Column("PROFILE", lambda kind: str(dig(kind, "profile") or "-")),
)


@app.command(name="list")
def list_vm_types(*, options: Options = OPTIONS) -> None:
    """List VM types."""
    with connect(options) as api:
        rows = everything(api, path("vm-types"))
    show_list(rows, COLUMNS, options.output, empty="no VM types: create one with `houyi vm-type create NAME --vcpus 1 --memory 512MiB --disk 4GiB`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show a VM type."""
    with connect(options) as api:
        kind = api.request("GET", path("vm-types", name))
    facts = [*((column.name.lower(), column.text(kind)) for column in COLUMNS), ("id", str(kind["id"])), ("age", show_age(kind["created_at"], time.time()))]
    show_object(kind, facts, options.output)


@app.command
def create(
    name: Annotated[str, Parameter(help="Name of the new type.")],
    /,
    *,
    vcpus: Vcpus,
    memory: Memory,
    disk: Disk,
    profile: Profile = "",
    options: Options = OPTIONS,
) -> None:
    """Create a VM type (administrators only)."""
    body: dict[str, Any] = {"name": name, "vcpus": vcpus, "memory_mib": memory, "disk_gib": disk, **({"profile": profile} if profile else {})}
    with connect(options) as api:
        kind = api.request("POST", path("vm-types"), body=body)
    told(kind, f"type {name} is made", options)


@app.command(name="set")
def set_vm_type(
    name: Name,
    /,
    *,
    new_name: Annotated[str | None, Parameter(name="--name", help="Another name.")] = None,
    vcpus: Vcpus | None = None,
    memory: Memory | None = None,
    disk: Disk | None = None,
    profile: Profile | None = None,
    options: Options = OPTIONS,
) -> None:
    """Change a VM type (administrators only)."""
    changes = {"name": new_name, "vcpus": vcpus, "memory_mib": memory, "disk_gib": disk, "profile": profile}
    body = {key: value for key, value in changes.items() if value is not None}
    if not body:
        raise Invalid("nothing_to_change", "nothing to change was given: see `houyi vm-type set --help`")
    with connect(options) as api:
        told(api.request("PATCH", path("vm-types", name), body=body), f"type {name} is changed", options)


@app.command
def delete(name: Name, /, *, yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False, options: Options = OPTIONS) -> None:
    """Delete a VM type; VMs that were made from it stay (administrators only)."""
    sure(f"delete VM type {name!r}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("vm-types", name)), f"type {name} is deleted", options)
