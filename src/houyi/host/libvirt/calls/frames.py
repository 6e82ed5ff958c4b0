"""libvirt's RPC on the wire: frames, and the few XDR shapes that have to be read in them. Knows no call.

A frame is a length of four bytes (itself included), a header of six four-byte words, and a payload; all big-endian, every item padded to four bytes.
Source: libvirt's public protocol definitions src/rpc/virnetprotocol.x and src/rpc/virkeepaliveprotocol.x, and the page "RPC protocol" of its documentation.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct(">7I")
HEADER_BYTES = _HEADER.size
FRAME_BYTES_MAX = 1 << 20
"""Largest frame that passes. libvirt takes 32 MiB; a domain of a hundred disks is under 100 KiB, and a peer must not fill our memory."""


class Kind(IntEnum):
    """virNetMessageType."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2
    STREAM = 3
    CALL_WITH_FDS = 4
    REPLY_WITH_FDS = 5


class NotRpc(ValueError):
    """These bytes are not what libvirt's RPC says they are."""


@dataclass(frozen=True, slots=True)
class Frame:
    program: int
    version: int
    procedure: int
    kind: Kind
    serial: int
    status: int
    payload: bytes

    def encode(self) -> bytes:
        size = HEADER_BYTES + len(self.payload)
        return _HEADER.pack(size, self.program, self.version, self.procedure, self.kind, self.serial, self.status) + self.payload


class Frames:
    """Cuts one direction of a connection into whole frames, however the bytes come."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. :raise NotRpc: the stream is beyond repair."""
        self._rest += data
        found: list[Frame] = []
        while len(self._rest) >= 4:
            size = int.from_bytes(self._rest[:4], "big")
            if not HEADER_BYTES <= size <= FRAME_BYTES_MAX:
                raise NotRpc(f"a frame of {size} bytes")
            if len(self._rest) < size:
                break
            found.append(_decode(bytes(self._rest[:size])))
            del self._rest[:size]
        return found


def _decode(data: bytes) -> Frame:
    _, program, version, procedure, kind, serial, status = _HEADER.unpack_from(data)
    try:
        return Frame(program, version, procedure, Kind(kind), serial, status, data[HEADER_BYTES:])
    except ValueError:
        raise NotRpc(f"a frame of kind {kind}") from None


Value = int | float | str


class Xdr:
    """Reads a payload from its begin; every method takes the next item. :raise NotRpc: it is not there."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def word(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def opaque(self) -> bytes:
        size = self.word()
        found = self._take(size)
        self._take(-size % 4)
        return found

    def string(self) -> str:
        try:
            return self.opaque().decode()
        except UnicodeDecodeError:
            raise NotRpc("text that is not UTF-8") from None

    def optional_string(self) -> str | None:
        return self.string() if self.word() else None

    def parameters(self) -> list[tuple[str, Value]]:
        """libvirt's typed parameters (`remote_typed_param` of src/remote/remote_protocol.x); a name may come more than once."""
        return [(self.string(), self._value()) for _ in range(self.word())]

    def end(self) -> None:
        if self._at != len(self._data):
            raise NotRpc(f"{len(self._data) - self._at} bytes too many")

    def _value(self) -> Value:
        kind = self.word()
        match kind:
            case 1 | 2 | 6:  # int, unsigned int, boolean
                return self.word()
            case 3 | 4:  # long long, unsigned long long
                return int.from_bytes(self._take(8), "big")
            case 5:
                return float(struct.unpack(">d", self._take(8))[0])
            case 7:
                return self.string()
        raise NotRpc(f"a parameter of type {kind}")

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise NotRpc("a payload that is cut off")
        found = self._data[self._at : end]
        self._at = end
        return found
