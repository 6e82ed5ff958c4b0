"""`houyi tune`: what can be tuned, and whether it helps."""

from houyi.cli.session import noun

app = noun("tune", "Try settings on a VM as a measured experiment, and see whether they helped.")

app.command("houyi.cli.experiment:try_settings", name="try")
app.command("houyi.cli.experiment:show", name="show")
app.command("houyi.cli.experiment:list_experiments", name="experiments")
app.command("houyi.cli.experiment:cancel", name="cancel")
app.command("houyi.cli.experiment:report", name="report")
