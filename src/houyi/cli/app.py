"""The command tree. Each noun is imported only when it is used, so that every command starts fast.

The front door (houyi.main) adds what acts on this machine: `app.command(up)`, and to a noun with `app["image"].command(build)`.
"""

from cyclopts import App

import houyi

NOUNS = (
    ("vm", "vm", "Virtual machines: create, see, start, stop, open their consoles, delete."),
    ("migration", "migration", "Moves of VMs from host to host: plans, progress, what became of them."),
    ("image", "image", "Disk images that VMs start from: import, see, delete."),
    ("network", "network", "Networks that VMs attach to."),
    ("placement", "placement", "Where VMs go, and why."),
    ("placement-group", "placement_group", "Groups of VMs that shall be near each other, or apart."),
    ("pool", "pool", "Pools of hosts with one CPU for all of their VMs."),
    ("vm-type", "vm_type", "Sizes of VMs by name."),
    ("ssh-key", "ssh_key", "Public SSH keys that are put into guests."),
    ("host", "host", "The machines that VMs run on."),
    ("tune", "tune", "What can be tuned, what would help, and whether it did: measured experiments."),
    ("operation", "operation", "Things that take time."),
    ("event", "event", "What happened."),
    ("project", "project", "To whom things belong."),
    ("token", "token", "Who may use the API."),
)
"""(command, module, help): the help is repeated here so that `houyi --help` imports none of them."""


def build_app() -> App:
    """All commands that speak to the API."""
    app = App(
        name="houyi",
        help="An elastic-compute platform: virtual machines on your own hosts.",
        version=houyi.__version__,
        exit_on_error=False,
        print_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, module, text in NOUNS:
        app.command(f"houyi.cli.{module}:app", name=name, help=text)
    for name in ("login", "whoami", "version"):
        app.command(f"houyi.cli.login:{name}", name=name)
    from houyi.cli.completion import completion_app

    app.command(completion_app(lambda: app))
    return app
