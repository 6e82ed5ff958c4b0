"""`houyi project`: to whom things belong."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.output import Column, show_list
from houyi.cli.quantities import show_age
from houyi.cli.session import OPTIONS, Options, connect, everything, noun
from houyi.sdk.paths import path

app = noun("project", "Projects: every VM, image, key and token belongs to one (administrators only).")


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda project: str(project["name"])),
        Column("ID", lambda project: str(project["id"])),
        Column("AGE", lambda project: show_age(project["created_at"], now), right=True),
    )


@app.command(name="list")
def list_projects(*, options: Options = OPTIONS) -> None:
    """List projects."""
    with connect(options) as api:
        rows = everything(api, path("projects"))
    show_list(rows, columns(time.time()), options.output, empty="no projects that you may see")


@app.command
def create(name: Annotated[str, Parameter(help="Name of the new project.")], /, *, options: Options = OPTIONS) -> None:
    """Create a project."""
    with connect(options) as api:
        project = api.request("POST", path("projects"), body={"name": name})
    told(project, f"project {name} is made: `houyi token create NAME --project {name}` gives somebody access", options)


@app.command
def delete(
    name: Annotated[str, Parameter(help="Name or id of the project.")],
    /,
    *,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False,
    options: Options = OPTIONS,
) -> None:
    """Delete an empty project with its tokens and keys."""
    sure(f"delete project {name!r} with its tokens and keys?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("projects", name)), f"project {name} is deleted", options)
