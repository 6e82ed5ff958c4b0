"""`houyi lab`: the commands. What they do is in local/lab."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from houyi.base.config import Settings
from houyi.cli.output import Column, Format, Row, note, show_list, write_data
from houyi.cli.quantities import show_mib
from houyi.cli.session import MemoryMib, noun
from houyi.local.lab.layout import LabFolder
from houyi.local.lab.words import Ask, LabStatus, Verb
from houyi.model.errors import Unauthenticated
from houyi.sdk.credentials import LAB_VARIABLE, find_login

app: App = noun("lab", "A small data centre of real hosts on this machine, made of namespaces: to try a cluster, and to test one.")

Host = Annotated[str, Parameter(help="Name of a host: h1, h2 ...")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class LabOptions:
    """Options of every lab command."""

    name: Annotated[str, Parameter(env_var=LAB_VARIABLE, help="Which lab; there may be several.")] = "lab"
    output: Annotated[Format, Parameter(name=("--output", "-o"), help="table for people; json or yaml for programs.")] = Format.TABLE

    @property
    def folder(self) -> LabFolder:
        return LabFolder.of(Settings().lab_dir, self.name)


OPTIONS = LabOptions()


@app.command
def up(
    *,
    hosts: Annotated[int, Parameter(help="How many; 0: as many as the lab has, 3 for a new one. A lab can grow.")] = 0,
    kvm: Annotated[
        bool, Parameter(help="Have an (emulated) machine with real KVM in it as well, m1: its system is built once, which takes minutes.", negative="")
    ] = False,
    memory: Annotated[MemoryMib, Parameter(help="What each new host offers; by default an equal share of the machine's.")] = 0,
    options: LabOptions = OPTIONS,
) -> None:
    """Have a lab with so many hosts, all of them on and ready. Run again it repairs: what is off is started, the rest left alone."""
    from houyi.local.lab.up import Wish, lab_up

    found = asyncio.run(lab_up(options.folder, Wish(hosts=hosts, memory_mib=memory, kvm=kvm), note if options.output is Format.TABLE else _silent))
    if options.output is not Format.TABLE:
        write_data(msgspec.to_builtins(found), options.output)
        return
    note(f"the lab is up: API {found.url}; {_reached(found)}; `houyi lab down` removes it")


def _reached(found: LabStatus) -> str:
    try:
        plainly = find_login().url == found.url
    except Unauthenticated:  # there are others
        plainly = False
    return "all commands reach it: `houyi host list`" if plainly else f"set {LAB_VARIABLE}={found.name}, and all commands reach it"


@app.command
def status(*, options: LabOptions = OPTIONS) -> None:
    """Show a lab's hosts: whether they are on, how the server has them, what they are cut from."""
    from houyi.local.lab.ask import status as look

    _show(asyncio.run(look(options.folder)), options)


@app.command(name="list")
def list_labs(*, output: Annotated[Format, Parameter(name=("--output", "-o"), help="table for people; json or yaml for programs.")] = Format.TABLE) -> None:
    """List the labs of this machine."""
    from houyi.local.lab.ask import status as look

    folders = [LabFolder(path.parent) for path in sorted(Settings().lab_dir.glob("*/lab.json"))]
    rows = [msgspec.to_builtins(asyncio.run(look(folder))) for folder in folders]
    columns = (
        Column("NAME", lambda row: str(row["name"])),
        Column("STATE", lambda row: "up" if row["up"] else "down"),
        Column("HOSTS", lambda row: str(len(row["hosts"])), right=True),
        Column("API", lambda row: str(row["url"]) if row["server"] else "-"),
    )
    show_list(rows, columns, output, empty="no labs: `houyi lab up` makes one")


@app.command
def cut(
    host: Host,
    /,
    *,
    other: Annotated[str, Parameter(name="--from", help="Another host, or `server`; by default everybody.")] = "",
    options: LabOptions = OPTIONS,
) -> None:
    """Cut a host's network, in both directions: packets vanish, nobody is told."""
    _ask("cut", host, options, f"host {host} is cut from {other or 'everybody'}: `houyi lab heal {host}` ends it", other=other)


@app.command
def heal(host: Host, /, *, options: LabOptions = OPTIONS) -> None:
    """End all cuts of a host."""
    _ask("heal", host, options, f"host {host} is cut from nobody")


@app.command
def kill(host: Host, /, *, options: LabOptions = OPTIONS) -> None:
    """Power loss of a host: everything on it dies at once, its disk stays as it is then."""
    _ask("kill", host, options, f"host {host} is off: `houyi lab start {host}` switches it on")


@app.command
def start(host: Host, /, *, options: LabOptions = OPTIONS) -> None:
    """Switch a host on that is off: a new boot id, the same disk."""
    _ask("start", host, options, f"host {host} is on")


@app.command(name="exec")
def execute(host: Host, /, *command: Annotated[str, Parameter(allow_leading_hyphen=True)], options: LabOptions = OPTIONS) -> None:
    """Run a command on a host, as its root: `houyi lab exec h1 -- virsh list`. Without a command, a shell. HOST may be `server`."""
    from houyi.host.shell import become
    from houyi.local.lab.ask import doorway

    become(asyncio.run(doorway(options.folder, host, command)))


@app.command
def down(
    *,
    keep: Annotated[bool, Parameter(help="Leave its data: VMs, images, the platform's records; the next `up` goes on with them.", negative="")] = False,
    options: LabOptions = OPTIONS,
) -> None:
    """End a lab and remove all that it was: hosts, VMs, images, networks. Nothing is left on the machine."""
    from houyi.local.lab.down import lab_down

    there = asyncio.run(lab_down(options.folder, keep=keep))
    if options.output is not Format.TABLE:
        write_data({"name": options.name, "down": there, "kept": keep and there}, options.output)
    else:
        note("down, the data is kept: `houyi lab up` goes on with it" if keep else "the lab is gone" if there else f"there is no lab {options.name!r}")


def _ask(verb: Verb, host: str, options: LabOptions, done: str, *, other: str = "") -> None:
    from houyi.local.lab.ask import ask

    found = asyncio.run(ask(options.folder, Ask(verb=verb, host=host, other=other)))
    if options.output is not Format.TABLE:
        write_data(next(msgspec.to_builtins(each) for each in found.hosts if each.name == host), options.output)
    else:
        note(done)


def _show(found: LabStatus, options: LabOptions) -> None:
    data: dict[str, Any] = msgspec.to_builtins(found)
    if options.output is not Format.TABLE:
        write_data(data, options.output)
        return
    columns = (
        Column("HOST", lambda row: str(row["name"])),
        Column("POWER", lambda row: str(row["power"])),
        Column("STATE", lambda row: str(row["state"] or "-"), paint=True),
        Column("ADDRESS", lambda row: str(row["address"])),
        Column("MEMORY", lambda row: show_mib(row["memory_mib"]), right=True),
        Column("CUT FROM", lambda row: ", ".join(row["cut_from"]) or "-"),
        Column("PROBLEM", _problem),
    )
    show_list(data["hosts"], columns if any(map(_problem, data["hosts"])) else columns[:-1], options.output, empty="no hosts")
    sys.stdout.flush()
    server = f"API {found.url}" if found.server else "its server does not answer"
    note(f"up, {server}; {found.shared} is /var/lib/shared on all hosts" if found.up else "down: `houyi lab up` starts it")


def _problem(row: Row) -> str:
    return str(row["problem"])


def _silent(_text: str) -> None:
    """Programs get the outcome only."""
