"""`houyi token`: who may use the API."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.changed import told
from houyi.cli.output import Column, Format, note, show_list, write_data
from houyi.cli.quantities import show_age, show_left
from houyi.cli.session import OPTIONS, Options, Seconds, connect, dig, everything, noun
from houyi.model.token import Role
from houyi.sdk.paths import path

app = noun("token", "Tokens of the API: who may act, in which project, and how long.")


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda token: str(token["name"])),
        Column("ID", lambda token: str(token["id"])),
        Column("ROLE", lambda token: str(token["role"])),
        Column("PROJECT", lambda token: str(dig(token, "project_name") or dig(token, "project_id"))),
        Column("EXPIRES IN", lambda token: show_left(token["expires_at"], now), right=True),
        Column("AGE", lambda token: show_age(token["created_at"], now), right=True),
    )


@app.command(name="list")
def list_tokens(*, options: Options = OPTIONS) -> None:
    """List tokens (their secrets are not kept)."""
    with connect(options) as api:
        rows = everything(api, path("tokens"))
    show_list(rows, columns(time.time()), options.output, empty="no tokens")


@app.command
def create(
    name: Annotated[str, Parameter(help="Name of the new token.")],
    /,
    *,
    role: Annotated[Role, Parameter(help="member: everything within the project; admin: everything.")] = Role.MEMBER,
    lifetime: Annotated[Seconds, Parameter(help="How long it may be used; 0: for ever.", show_default=lambda s: "for ever")] = 0.0,
    options: Options = OPTIONS,
) -> None:
    """Create a token. It is shown once."""
    body = {"name": name, "role": role, "lifetime_seconds": lifetime}
    with connect(options) as api:
        token = api.request("POST", path("tokens"), body={key: value for key, value in body.items() if value})
    if options.output is not Format.TABLE:
        write_data(token, options.output)
        return
    print(dig(token, "token"))  # noqa: T201 - the one thing that is asked for, alone on stdout
    note(f"token {name} is shown once: keep it safe; its owner says `houyi login URL`")


@app.command
def revoke(name: Annotated[str, Parameter(help="Name or id of the token.")], /, *, options: Options = OPTIONS) -> None:
    """Revoke a token: it is refused from now on."""
    with connect(options) as api:
        told(api.request("DELETE", path("tokens", name)), f"token {name} is revoked", options)
