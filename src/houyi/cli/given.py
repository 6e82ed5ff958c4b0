"""What people give beside names: files, keys, labels, how a VM may move."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from houyi.cli.quantities import parse_pairs
from houyi.model.errors import Failed, Invalid
from houyi.model.vm import MigrationPolicy

_KEY_PREFIXES = ("ssh-", "ecdsa-", "sk-")


def labels_of(texts: Iterable[str]) -> dict[str, str]:
    """:raise Invalid: `label_malformed`."""
    try:
        return parse_pairs(texts)
    except ValueError as wrong:
        raise Invalid("label_malformed", str(wrong)) from None


def changed_pairs(texts: Iterable[str], kept: Mapping[str, str]) -> dict[str, str]:
    """Settings after KEY=VALUE sets one and KEY- takes one back. :raise Invalid: `label_malformed`."""
    given = list(texts)
    gone = {text[:-1] for text in given if text.endswith("-") and "=" not in text}
    new = labels_of(text for text in given if "=" in text or not text.endswith("-"))
    return {key: value for key, value in {**kept, **new}.items() if key not in gone}


def read_text(name: str) -> str:
    """The text of a file, or of stdin for '-'. :raise Failed: `file_unreadable`."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except OSError as error:
        raise Failed("file_unreadable", f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failed("file_unreadable", f"cannot read {name}: it is not text (UTF-8)") from None


def key_text(key: str) -> str:
    """A key's name as it is; of a file, the public key in it. :raise Invalid: `private_key_given`: that belongs to nobody else."""
    if "/" not in key and not key.endswith(".pub"):
        return key
    text = read_text(str(Path(key).expanduser())).strip()
    if not text.startswith(_KEY_PREFIXES):
        raise Invalid("not_a_public_key", f"{key} holds no public key: give the file that ends in .pub")
    return text


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Moves:
    """Options about all moves of a VM to other hosts."""

    migration_policy: Annotated[
        MigrationPolicy | None, Parameter(help="How it is moved to another host; gentle: it is never slowed down; never: not while it runs.")
    ] = None
    downtime_ms: Annotated[int | None, Parameter(help="For how long it may stand still when it moves, in milliseconds.")] = None
    postcopy: Annotated[bool | None, Parameter(help="Whether post-copy may be used when it moves, which always converges, but can lose the guest.")] = None

    def body(self) -> dict[str, Any]:
        """As the API takes it; only what was given."""
        given = {"migration_policy": self.migration_policy, "downtime_ms_max": self.downtime_ms, "postcopy": self.postcopy}
        return {key: value for key, value in given.items() if value is not None}


MOVES = Moves()


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Tuning:
    """Options about what a VM or a host is tuned to."""

    profile: Annotated[str | None, Parameter(negative=(), help="A named set of settings (`houyi tune profiles`); '' for none.")] = None
    knob: Annotated[
        tuple[str, ...], Parameter(negative=(), help="KNOB=VALUE (`houyi tune list`), which wins over the profile; KNOB- takes it back; several times.")
    ] = ()


TUNING = Tuning()

OnTrouble = Annotated[
    tuple[str, ...],
    Parameter(
        negative=(),
        help="TROUBLE=REMEDY: panic=restart|keep, watchdog=restart|stop|keep, io_error=resume|keep|report, memory_failure=report|restart; TROUBLE- for the usual; "
        "several times.",
    ),
]
