"""`houyi placement-group`: VMs that shall be near each other, or apart."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.output import Column, show_list, show_object
from houyi.cli.quantities import show_age
from houyi.cli.session import OPTIONS, Options, connect, dig, everything, noun
from houyi.model.placement_group import FaultDomain, GroupPolicy, GroupStrength
from houyi.sdk.paths import path

app = noun("placement-group", "Groups of VMs that shall be near each other, or apart: on hosts, racks or zones.")

Name = Annotated[str, Parameter(help="Name or id of the placement group.")]


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda group: str(group["name"])),
        Column("POLICY", lambda group: str(dig(group, "policy"))),
        Column("STRENGTH", lambda group: str(dig(group, "strength"))),
        Column("SCOPE", lambda group: str(dig(group, "scope"))),
        Column("AGE", lambda group: show_age(group.get("created_at"), now), right=True),
    )


@app.command(name="list")
def list_placement_groups(*, options: Options = OPTIONS) -> None:
    """List placement groups."""
    with connect(options) as api:
        rows = everything(api, path("placement-groups"))
    show_list(rows, columns(time.time()), options.output, empty="no placement groups: create one with `houyi placement-group create NAME anti-affinity`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show a placement group."""
    with connect(options) as api:
        group = api.request("GET", path("placement-groups", name))
    facts = [(key, str(dig(group, key))) for key in ("name", "id", "policy", "strength", "scope")]
    show_object(group, [*facts, ("age", show_age(group.get("created_at"), time.time()))], options.output)


@app.command
def create(
    name: Annotated[str, Parameter(help="Name of the new placement group.")],
    policy: Annotated[GroupPolicy, Parameter(help="affinity: its VMs share one fault domain; anti-affinity: no two of them do.")],
    /,
    *,
    strength: Annotated[
        GroupStrength, Parameter(help="hard: a VM that would break the rule is not placed; soft: kept where there is room for it.")
    ] = GroupStrength.HARD,
    scope: Annotated[FaultDomain, Parameter(help="The fault domain; a host's rack and zone are its labels of these names.")] = FaultDomain.HOST,
    options: Options = OPTIONS,
) -> None:
    """Create a placement group. It never changes; VMs are created into it."""
    with connect(options) as api:
        group = api.request("POST", path("placement-groups"), body={"name": name, "policy": policy, "strength": strength, "scope": scope})
    told(group, f"placement group {name} is made: `houyi vm create ... --group {name}`", options)


@app.command
def delete(name: Name, /, *, yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False, options: Options = OPTIONS) -> None:
    """Delete a placement group that no VM is in."""
    sure(f"delete placement group {name!r}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("placement-groups", name)), f"placement group {name} is deleted", options)
