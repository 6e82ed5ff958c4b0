"""The command `houyi`: the CLI, and the commands that act on this machine. Heavy things are imported by the command that needs them."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from houyi.base.config import Settings
from houyi.cli.app import build_app
from houyi.cli.output import Format, note, write_data
from houyi.cli.run import run_app
from houyi.cli.session import OPTIONS, Options
from houyi.main import bench, lab

Output = Annotated[Format, Parameter(name=("--output", "-o"), help="table for people; json or yaml for programs.")]


def run() -> None:
    """What the command `houyi` does; the exit status is as in cli.exits."""
    sys.exit(run_app(whole_app()))


@cache
def whole_app() -> App:
    """The CLI with the commands that act on this machine."""
    app = build_app()
    for command in (server, agent, up, down, doctor, recover_admin):
        app.command(command)
    app["image"].command(build, name="build")
    app.command(lab.app)
    app.command(bench.app)
    return app


def server(
    *, local_join_file: Annotated[Path | None, Parameter(help="Leave a join token for this machine's own agent here, while it has not joined.")] = None
) -> None:
    """Run the control plane in the foreground: the API and the agents' listener, until SIGTERM or Ctrl-C. VMs go on without it."""
    from houyi.main.server import serve

    settings = Settings()
    _run_process(settings, serve(settings, local_join_file))


def agent(
    *,
    join_file: Annotated[
        Path | None, Parameter(help="File with a join token, removed once that is used up; - for stdin. A token is no argument: others see those.")
    ] = None,
) -> None:
    """Run this machine's agent in the foreground, until SIGTERM or Ctrl-C. VMs go on without it. A host that has not joined yet needs a join token once."""
    from houyi.main.agent import host

    settings = Settings()
    _run_process(settings, host(settings, join_file))


def up(
    *, detach: Annotated[bool, Parameter(help="Put it in the background and wait until everything answers.")] = False, output: Output = Format.TABLE
) -> None:
    """Start the whole platform on this machine: server, agent, and libvirt where nothing else runs it; what dies is started again."""
    from houyi.base.log import set_up
    from houyi.local.up import up_detached, up_foreground

    settings = Settings()
    if not detach:
        set_up(settings.log.level, settings.log.format)
        asyncio.run(up_foreground(settings))
        return
    result = asyncio.run(up_detached(settings))
    url = f"http://{settings.server.api_host}:{settings.server.api_port}"
    if output is not Format.TABLE:
        write_data({"already": result.already, "running": list(result.running), "logs": result.logs, "url": url}, output)
        return
    note(f"{'running already' if result.already else 'started'}: {', '.join(result.running)}; logs in {result.logs}")
    note(f"API {url}, its documentation {url}/docs; `houyi down` stops it")


def down(
    *,
    purge: Annotated[bool, Parameter(help="Also remove all data: VMs, images, database, keys, logs.", negative="")] = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask before --purge.", negative="")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Stop everything that `houyi up` started on this machine, VMs and networks too. The next `up` starts the VMs again that were wanted running."""
    from houyi.cli.asking import sure
    from houyi.main.agent import take_host_down

    settings = Settings()
    if purge:
        sure(f"remove all VMs, images and data in {settings.state_dir}?", yes)

    asyncio.run(take_host_down(settings, note, purge=purge))
    if output is not Format.TABLE:
        write_data({"down": True, "purged": purge}, output)
    else:
        note("down" + (", and all data removed" if purge else "; `houyi up --detach` starts it again"))


def doctor(*, output: Output = Format.TABLE) -> None:
    """Check this machine by trying: KVM, libvirt, QEMU, memory, disk ... and say what limits what. Exit status 1 when something needed is missing."""
    from houyi.local.doctor import Finding, examine

    results = asyncio.run(examine(Settings()))
    if output is not Format.TABLE:
        write_data([{**asdict(result), "finding": result.finding.value} for result in results], output)
    else:
        from houyi.cli.output import Column, show_list

        rows = [{**asdict(result), "finding": result.finding.value} for result in results]
        columns = [Column(name.replace("_", " "), lambda row, name=name: str(row[name])) for name in ("finding", "check", "found", "limits", "advice")]  # type: ignore[misc]
        show_list(rows, columns, output, empty="nothing checked")
    if any(result.finding is Finding.FAIL for result in results):
        sys.exit(1)


def recover_admin(*, output: Output = Format.TABLE) -> None:
    """Make one more administrator's token, into admin.token in the server's state folder: for who has lost all but is root there. A server may run meanwhile."""
    from houyi.main.server import recover_admin as recover

    path = asyncio.run(recover(Settings()))
    if output is not Format.TABLE:
        write_data({"file": str(path)}, output)
    else:
        note(f"the token is in {path}; revoke the lost ones: `houyi token list`, `houyi token revoke`")


def build(
    recipe: Annotated[
        str, Parameter(help="tiny (busybox, boots in seconds), debian (whole, with cloud-init) or bench (tiny with the programs of `houyi bench`).")
    ],
    /,
    *,
    name: Annotated[str, Parameter(help="Import it under this name; by default the recipe's.")] = "",
    file: Annotated[Path | None, Parameter(help="Only write the image to this file, import nothing.")] = None,
    public: Annotated[bool, Parameter(help="Let every project use it.")] = True,
    options: Options = OPTIONS,
) -> None:
    """Build a bootable image out of this machine's Debian packages, and import it. Needs root."""
    from houyi.cli.image import import_image
    from houyi.cli.progress import shown
    from houyi.local.image_build import build_image
    from houyi.model.image import DiskFormat

    settings = Settings()
    with shown(f"building {recipe}") as bar:
        path = asyncio.run(build_image(settings, recipe, lambda share: bar.update(share, "building"), file))
    if file is None:
        import_image(name or recipe, file=path, format=DiskFormat.QCOW2, os=recipe, public=public, options=options)
    elif options.output is not Format.TABLE:
        write_data({"file": str(path)}, options.output)
    else:
        note(f"built {path}")


def _run_process(settings: Settings, main: Coroutine[Any, Any, None]) -> None:
    """Run a process of the platform under uvloop until it is told to stop."""
    import uvloop

    from houyi.base.log import set_up

    set_up(settings.log.level, settings.log.format)
    with suppress(asyncio.CancelledError):
        uvloop.run(_until_signal(main))


async def _until_signal(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(main)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    await task
