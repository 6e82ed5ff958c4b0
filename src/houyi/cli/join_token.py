"""`houyi host join-token`: let one more host join."""

import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.changed import told
from houyi.cli.output import Column, Format, note, show_list, write_data
from houyi.cli.quantities import show_age, show_left, show_seconds
from houyi.cli.session import OPTIONS, Options, Seconds, connect, dig, everything, noun
from houyi.sdk.paths import path

app = noun("join-token", "Let new hosts join: each token lets exactly one in, before it expires.")


@app.default
def create(
    *,
    lifetime: Annotated[Seconds, Parameter(help="How long it may be used.")] = 3600.0,
    options: Options = OPTIONS,
) -> None:
    """Make a token that lets one host join. It is shown once: `houyi host join-token`."""
    with connect(options) as api:
        token = api.request("POST", path("join-tokens"), body={"lifetime_seconds": lifetime})
    if options.output is not Format.TABLE:
        write_data(token, options.output)
        return
    print(dig(token, "token"))  # noqa: T201 - the one thing that is asked for, alone on stdout
    note(f"on the new host, within {show_seconds(lifetime)}: `houyi agent --join-file FILE` with this token in FILE")


app.command(create, name="create")


def columns(now: float) -> Sequence[Column]:
    return (
        Column("ID", lambda token: str(token["id"])),
        Column("EXPIRES IN", lambda token: show_left(token["expires_at"], now), right=True),
        Column("USED BY", lambda token: str(dig(token, "used_by") or "-")),
        Column("AGE", lambda token: show_age(token["created_at"], now), right=True),
    )


@app.command(name="list")
def list_join_tokens(*, options: Options = OPTIONS) -> None:
    """List join tokens (their secrets are not kept)."""
    with connect(options) as api:
        rows = everything(api, path("join-tokens"))
    show_list(rows, columns(time.time()), options.output, empty="no join tokens: `houyi host join-token` makes one")


@app.command
def revoke(number: Annotated[str, Parameter(name="ID", help="Id of the token.")], /, *, options: Options = OPTIONS) -> None:
    """Revoke a join token."""
    with connect(options) as api:
        told(api.request("DELETE", path("join-tokens", number)), f"join token {number} is revoked", options)
