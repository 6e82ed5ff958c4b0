"""`houyi ssh-key`: public keys that are put into guests."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from houyi.cli.asking import sure
from houyi.cli.changed import told
from houyi.cli.given import key_text
from houyi.cli.output import Column, note, show_list
from houyi.cli.quantities import show_age
from houyi.cli.session import OPTIONS, Options, connect, everything, noun
from houyi.model.errors import Conflict, Failed
from houyi.sdk.paths import path

app = noun("ssh-key", "Public SSH keys that are put into guests at their creation.")


def columns(now: float) -> Sequence[Column]:
    return (
        Column("NAME", lambda key: str(key["name"])),
        Column("FINGERPRINT", lambda key: str(key["fingerprint"])),
        Column("AGE", lambda key: show_age(key["created_at"], now), right=True),
    )


@app.command(name="list")
def list_ssh_keys(*, options: Options = OPTIONS) -> None:
    """List SSH keys."""
    with connect(options) as api:
        rows = everything(api, path("ssh-keys"))
    show_list(rows, columns(time.time()), options.output, empty="no SSH keys: `houyi ssh-key add NAME ~/.ssh/id_ed25519.pub`, or `houyi ssh-key generate NAME`")


@app.command
def add(
    name: Annotated[str, Parameter(help="Name of the key here.")],
    file: Annotated[Path, Parameter(help="File with the public key.")],
    /,
    *,
    options: Options = OPTIONS,
) -> None:
    """Add a public key from a file."""
    _add(name, key_text(str(file if file.is_absolute() else Path.cwd() / file)), options)


@app.command
def generate(
    name: Annotated[str, Parameter(help="Name of the key here.")],
    /,
    *,
    file: Annotated[Path | None, Parameter(help="Where the private key goes; by default ~/.ssh/houyi_NAME.", show_default=False)] = None,
    options: Options = OPTIONS,
) -> None:
    """Make a key pair (Ed25519): the private key stays in a file of yours, the public key is added."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    target = (file or Path.home() / ".ssh" / f"houyi_{name}").expanduser()
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() + f" houyi-{name}"
    text = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    _write_private(target, text)
    try:
        _add(name, public, options)
    except BaseException:
        target.unlink()
        raise
    target.with_name(target.name + ".pub").write_text(public + "\n")
    note(f"private key: {target}; log in with `ssh -i {target} USER@ADDRESS`")


def _write_private(target: Path, text: bytes) -> None:
    """:raise Conflict: `file_exists`. :raise Failed: `file_unwritable`."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(text)
    except FileExistsError:
        raise Conflict("file_exists", f"{target} exists already: add its public key with `houyi ssh-key add`, or choose another --file") from None
    except OSError as error:
        raise Failed("file_unwritable", f"cannot write {target}: {error.strerror}") from None


def _add(name: str, public: str, options: Options) -> None:
    with connect(options) as api:
        key = api.request("POST", path("ssh-keys"), body={"name": name, "public_key": public})
    told(key, f"key {name} is added: `houyi vm create ... --ssh-key {name}`", options)


@app.command
def delete(
    name: Annotated[str, Parameter(help="Name or id of the key.")],
    /,
    *,
    yes: Annotated[bool, Parameter(alias="-y", negative=(), help="Do not ask.")] = False,
    options: Options = OPTIONS,
) -> None:
    """Delete a key; VMs keep the copy that they were made with."""
    sure(f"delete SSH key {name!r}?", yes)
    with connect(options) as api:
        told(api.request("DELETE", path("ssh-keys", name)), f"key {name} is deleted", options)
