"""Where a client finds the API and its token: environment, then the login file, then this machine's own server, or a lab on it.

A token is never an argument: arguments are seen by everybody on the machine. The login file is the user's alone (0600, in a folder of 0700).
"""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from houyi.model.errors import Failed, Unauthenticated

URL_VARIABLE = "HOUYI_API_URL"
TOKEN_VARIABLE = "HOUYI_API_TOKEN"  # noqa: S105 - the name of a variable

LAB_VARIABLE = "HOUYI_LAB"
_LAB_LOGIN = "login.json"
"""In a lab's folder while it is up; src/houyi/local/lab writes it."""
_LOOPBACK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Login:
    url: str
    token: str
    origin: str
    """Where it was found, for messages."""


def login_file() -> Path:
    """`$XDG_CONFIG_HOME/houyi/login.json`, by default under ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "houyi" / "login.json"


def save_login(url: str, token: str) -> Path:
    """Write the login file so that it is at no moment readable by others. :raise Failed: `login_file_unwritable`."""
    path = login_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(login_text(url, token))
        fresh.replace(path)
    except OSError as error:
        raise Failed("login_file_unwritable", f"cannot write {path}: {error.strerror}") from None
    return path


def login_text(url: str, token: str) -> str:
    """What a login file holds; a secret."""
    return json.dumps({"url": url, "token": token})


def find_login(asked_url: str = "") -> Login:
    """Url and token, each from the first place that has it. A saved token is only sent to the server that it was saved for.

    :param asked_url: from the command line; empty: not given.
    :raise Unauthenticated: `not_logged_in`, `login_file_bad`.
    """
    url = asked_url or os.environ.get(URL_VARIABLE, "")
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and url:
        return Login(_bare(url), token, f"${TOKEN_VARIABLE}")
    lab = os.environ.get(LAB_VARIABLE, "")
    if lab and not url and not token:
        return lab_login(lab)
    saved = _saved(login_file())
    if saved is not None and not token and (not url or _bare(url) == saved.url):
        return saved
    if saved is not None and token and not url:
        return Login(saved.url, token, f"${TOKEN_VARIABLE}")
    if url or token:
        return local_login(_bare(url), token)
    return _only_lab() or local_login()


def lab_login(name: str) -> Login:
    """A lab on this machine, as its administrator; for root. :raise Unauthenticated: `lab_not_up`."""
    from houyi.base.config import Settings

    saved = _saved(Settings().lab_dir / Path(name).name / _LAB_LOGIN)
    if saved is None:
        raise Unauthenticated("lab_not_up", f"no lab {name!r} is up: `houyi lab up --name {name}`, or unset {LAB_VARIABLE}")
    return saved


def _only_lab() -> Login | None:
    """The lab that is up on this machine, unless this machine's own server answers. :raise Unauthenticated: `lab_not_named`: there are several."""
    from houyi.base.config import Settings

    settings = Settings()
    try:
        labs = [path for path in settings.lab_dir.glob(f"*/{_LAB_LOGIN}") if path.is_file()]
        own = bool(labs) and (settings.state_dir / "admin.token").exists()
    except OSError:
        return None
    if len(labs) > 1 and not own:
        names = ", ".join(sorted(path.parent.name for path in labs))
        raise Unauthenticated("lab_not_named", f"several labs are up ({names}): set {LAB_VARIABLE} to the one that is meant")
    if len(labs) != 1 or (own and _answers(settings.server.api_host, settings.server.api_port)):
        return None
    return _saved(labs[0])


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _LOOPBACK_SECONDS).close()
    except OSError:
        return False
    return True


def _saved(path: Path) -> Login | None:
    try:
        raw = json.loads(path.read_text())
        return Login(_bare(str(raw["url"])), str(raw["token"]), str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise Unauthenticated("login_file_bad", f"{path} cannot be read: `houyi login` writes it anew") from None


def local_login(url: str = "", token: str = "") -> Login:
    """The server that runs here, with the administrator's token that its first start left for root.

    :param url: another server, of which only a given `token` may be used. :raise Unauthenticated: `not_logged_in`.
    """
    from houyi.base.config import Settings  # slow to import, and only needed here

    settings = Settings()
    scheme = "https" if settings.server.api_tls_cert else "http"
    own = f"{scheme}://{settings.server.api_host}:{settings.server.api_port}"
    if token:
        return Login(url or own, token, f"${TOKEN_VARIABLE}")
    path = settings.state_dir / "admin.token"
    try:
        if not url or url == own:
            return Login(own, path.read_text().strip(), str(path))
    except OSError:
        pass
    raise Unauthenticated("not_logged_in", f"not logged in to {url or own}: `houyi login {url or 'URL'}`, or set {URL_VARIABLE} and {TOKEN_VARIABLE}") from None


def _bare(url: str) -> str:
    return url.rstrip("/")
