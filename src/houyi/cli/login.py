"""`houyi login`, `whoami` and `version`: who one is, and to what."""

import sys
from typing import Annotated

from cyclopts import Parameter

import houyi
from houyi.cli.changed import told
from houyi.cli.given import read_text
from houyi.cli.output import Format, show_object, write_data
from houyi.cli.session import OPTIONS, Options, connect, dig
from houyi.model.errors import HouyiError, Invalid
from houyi.sdk.credentials import find_login, save_login
from houyi.sdk.paths import path


def login(
    url: Annotated[str, Parameter(help="The server, such as https://houyi.example.org:7480.")],
    /,
    *,
    token_file: Annotated[str, Parameter(help="File with the token ('-': stdin); without it the token is asked for.")] = "",
    options: Options = OPTIONS,
) -> None:
    """Keep a server's URL and a token in a file of yours (0600), after trying them."""
    from houyi.sdk.transport import Transport

    token = _token(token_file)
    with Transport(url, token) as api:
        who = api.request("GET", path("whoami"))
        where = save_login(api.server.url, token)
    told(who, f"logged in to {url} as {dig(who, 'token_name')} ({dig(who, 'role')}); kept in {where}", options)


def _token(file: str) -> str:
    """:raise Invalid: `token_missing`."""
    if file:
        token = read_text(file)
    elif sys.stdin.isatty():
        import getpass

        token = getpass.getpass("token: ", sys.stderr)
    else:
        token = sys.stdin.readline()
    token = token.strip()
    if not token or any(not c.isprintable() or c.isspace() for c in token):
        raise Invalid("token_missing", "no token was given: it looks like hy_..., and comes from `houyi token create`")
    return token


def whoami(*, options: Options = OPTIONS) -> None:
    """Who one is to the server: token, role and project."""
    found = find_login(options.api_url)
    with connect(options) as api:
        who = api.request("GET", path("whoami"))
    facts = [
        ("server", found.url),
        ("token", str(dig(who, "token_name") or dig(who, "token_id"))),
        ("role", str(dig(who, "role"))),
        ("project", str(dig(who, "project_name") or dig(who, "project_id"))),
        ("found in", found.origin),
    ]
    show_object(who, facts, options.output)


def version(*, options: Options = OPTIONS) -> None:
    """The version of this program, and of the server if it answers."""
    versions = {"client": houyi.__version__, "server": None}
    try:
        with connect(options) as api:
            versions["server"] = dig(api.request("GET", "/v1"), "version", None)
    except HouyiError as error:
        reason = f"does not answer ({error.code})"
    else:
        reason = ""
    if options.output is Format.TABLE:
        show_object(versions, [("client", houyi.__version__), ("server", versions["server"] or reason)], options.output)
    else:
        write_data(versions, options.output)
