"""`houyi tune`: what can be tuned, what a VM runs with, what would help it, and whether it does."""

from typing import Annotated

from cyclopts import Parameter

from houyi.cli.session import OPTIONS, Options, noun
from houyi.model.names import is_id

app = noun("tune", "What can be tuned on VMs and hosts, and what a VM runs with; settings tried on a VM as a measured experiment.")

app.command("houyi.cli.knob:list_knobs", name="list")
app.command("houyi.cli.knob:profiles", name="profiles")
app.command("houyi.cli.knob:vm", name="vm")
app.command("houyi.cli.knob:advise", name="advise")
app.command("houyi.cli.experiment:try_settings", name="try")
app.command("houyi.cli.experiment:list_experiments", name="experiments")
app.command("houyi.cli.experiment:cancel", name="cancel")
app.command("houyi.cli.experiment:report", name="report")


@app.command
def show(what: Annotated[str, Parameter(help="Name of a knob, or id of an experiment.")], /, *, options: Options = OPTIONS) -> None:
    """Show a knob: what it does, needs and risks; or an experiment: where it stands, and what it says so far."""
    if is_id(what):
        from houyi.cli import experiment

        experiment.show(what, options=options)
    else:
        from houyi.cli import knob

        knob.show(what, options=options)
