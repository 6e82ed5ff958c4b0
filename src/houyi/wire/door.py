"""Between the doors of two hosts (docs/rfd/0002-fleet.md): one Knock, one answer, then what the knock was for.

Knock(use="libvirt") -> Entered, then libvirt's RPC both ways until either end closes
Knock(use="go")      -> Entered once the guest executes there | Turned away
Knock(use="files")   -> Entered, then for each file of a stopped VM: Offered -> Have, Block ..., Whole -> Entered once it is accepted | Turned away;
                        and Complete -> Entered
Knock(use="line")    -> Entered, then Block -> Have, again and again, and Complete -> Entered: how much the way carries
"""

from typing import Literal

import msgspec

from houyi.model.errors import Problem
from houyi.model.ids import MigrationId

PROTOCOL = 1
Use = Literal["libvirt", "go", "files", "line"]
MAX_BYTES = 16 << 10
"""Of one message; a knock has 100 bytes."""
BLOCK_MAX_BYTES = (1 << 20) + (16 << 10)
"""Of one message once inside with files: a block of 1 MiB and its frame."""


class DoorMessage(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Base; the tag is the class's name. On the wire each is preceded by its length, four bytes, big-endian."""


class Knock(DoorMessage, frozen=True):
    protocol: int
    move: MigrationId
    use: Use


class Entered(DoorMessage, frozen=True):
    pass


class TurnedAway(DoorMessage, frozen=True):
    problem: Problem


class Offered(DoorMessage, frozen=True):
    """The next file."""

    name: str
    size_bytes: int
    stored_bytes: int
    """Without its holes."""


class Have(DoorMessage, frozen=True):
    """What of it is there already: everything before `offset`."""

    offset: int


class Block(DoorMessage, frozen=True):
    offset: int
    data: bytes


class Whole(DoorMessage, frozen=True):
    """That was all of it. `sha256` of its blocks that are not zero, each after its offset (host/port.py: Carrier)."""

    sha256: str


class Complete(DoorMessage, frozen=True):
    """There are no more files."""


Said = Offered | Have | Block | Whole | Complete | Entered | TurnedAway

_encoder = msgspec.msgpack.Encoder()
_knock = msgspec.msgpack.Decoder(Knock)
_answer: msgspec.msgpack.Decoder[Entered | TurnedAway] = msgspec.msgpack.Decoder(Entered | TurnedAway)
_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def encode(message: DoorMessage) -> bytes:
    """With its length before it."""
    data = _encoder.encode(message)
    return len(data).to_bytes(4, "big") + data


def decode_knock(data: bytes) -> Knock:
    """:raise msgspec.DecodeError: (and its child ValidationError) for what is no message of ours."""
    return _knock.decode(data)


def decode_answer(data: bytes) -> Entered | TurnedAway:
    """:raise msgspec.DecodeError: (and its child ValidationError) for what is no message of ours."""
    return _answer.decode(data)


def decode_said(data: bytes) -> Said:
    """What is said once inside with files. :raise msgspec.DecodeError: (and its child ValidationError) for what is no message of ours."""
    return _said.decode(data)
