"""Between the doors of two hosts (docs/rfd/0002-fleet.md): one Knock, one answer, then what the knock was for.

Knock(use="libvirt") -> Entered, then libvirt's RPC both ways until either end closes
Knock(use="go")      -> Entered once the guest executes there | Turned away
"""

from typing import Literal

import msgspec

from houyi.model.errors import Problem
from houyi.model.ids import MigrationId

PROTOCOL = 1
MAX_BYTES = 16 << 10
"""Of one message; a knock has 100 bytes."""


class DoorMessage(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Base; the tag is the class's name. On the wire each is preceded by its length, four bytes, big-endian."""


class Knock(DoorMessage, frozen=True):
    protocol: int
    move: MigrationId
    use: Literal["libvirt", "go"]


class Entered(DoorMessage, frozen=True):
    pass


class TurnedAway(DoorMessage, frozen=True):
    problem: Problem


_encoder = msgspec.msgpack.Encoder()
_knock = msgspec.msgpack.Decoder(Knock)
_answer: msgspec.msgpack.Decoder[Entered | TurnedAway] = msgspec.msgpack.Decoder(Entered | TurnedAway)


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
