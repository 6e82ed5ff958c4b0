"""`houyi pool`: hosts among which any VM may move."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.output import Column, Row, show_list, show_object
from houyi.cli.quantities import show_age
from houyi.cli.session import OPTIONS, Options, connect, dig, everything, noun
from houyi.sdk.paths import path

app = noun("pool", "Pools of hosts with one CPU for all of their VMs, so that any VM may move to any host.")

Name = Annotated[str, Parameter(help="Name or id of the pool.")]
TOLD = 6
"""Features of one VM that are named in the table."""


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda pool: str(pool["name"])),
        Column("CPU", lambda pool: str(dig(pool, "cpu_model") or "-")),
        Column("FEATURES", lambda pool: str(len(dig(pool, "cpu_features", [])) or "-"), right=True),
        Column("HOSTS", _hosts),
        Column("TROUBLE", lambda pool: str(dig(pool, "trouble") or "-")),
        Column("AGE", lambda pool: show_age(pool.get("created_at"), now), right=True),
    )


def _hosts(pool: Row) -> str:
    return ", ".join(str(host["name"]) for host in pool.get("hosts") or ()) or "-"


@app.command(name="list")
def list_pools(*, options: Options = OPTIONS) -> None:
    """List pools."""
    with connect(options) as api:
        rows = everything(api, path("pools"))
    show_list(rows, columns(time.time()), options.output, empty="no pools: create one with `houyi pool create NAME`, then `houyi host set HOST --pool NAME`")


@app.command
def show(name: Name, /, *, options: Options = OPTIONS) -> None:
    """Show a pool: the CPU that its VMs get, its hosts, and which VMs run with another CPU (they keep the one they were started with)."""
    with connect(options) as api:
        pool = api.request("GET", path("pools", name))
    facts = [
        ("name", str(pool["name"])),
        ("id", str(pool["id"])),
        ("hosts", _hosts(pool)),
        ("cpu model", str(dig(pool, "cpu_model") or "not known yet: VMs get their host's")),
        ("with", ", ".join(dig(pool, "cpu_required", []))),
        ("without", ", ".join(dig(pool, "cpu_disabled", []))),
        ("features", ", ".join(dig(pool, "cpu_features", []))),
        ("trouble", str(dig(pool, "trouble"))),
        *(("other cpu", _apart(one)) for one in pool.get("apart") or ()),
        ("age", show_age(pool.get("created_at"), time.time())),
    ]
    show_object(pool, facts, options.output)


def _apart(one: Row) -> str:
    parts = [f"{word} {_some(one[key])}" for key, word in (("more", "has"), ("less", "lacks")) if one.get(key)]
    return f"{one['vm_name']} {'; '.join(parts)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")


@app.command
def create(name: Annotated[str, Parameter(help="Name of the new pool.")], /, *, options: Options = OPTIONS) -> None:
    """Create a pool without hosts."""
    with connect(options) as api:
        told(api.request("POST", path("pools"), body={"name": name}), f"pool {name} is made: `houyi host set HOST --pool {name}` puts a host into it", options)


@app.command
def delete(name: Name, /, *, yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False, options: Options = OPTIONS) -> None:
    """Delete a pool without hosts, for which no VM was made."""
    sure(f"delete pool {name!r}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("pools", name)), f"pool {name} is deleted", options)
