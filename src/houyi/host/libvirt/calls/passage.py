"""The list of calls that pass between two libvirts in a move, and what each of them may say.

Numbers: libvirt's public src/remote/remote_protocol.x and src/rpc/virkeepaliveprotocol.x; they are its promise to older and newer peers. That these and
no others are used by a peer-to-peer move was seen on the wire (libvirt 11.3); another one ends the connection and the move, and is logged by its number.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import libvirt

from houyi.host.libvirt.calls.frames import Frame, Frames, Kind, NotRpc, Value, Xdr
from houyi.host.libvirt.calls.offered import objection
from houyi.model.errors import Forbidden

REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
VERSION = 1
OPEN, CLOSE, SUPPORTS_FEATURE, AUTH_LIST = 1, 2, 60, 66
PREPARE, FINISH = 303, 306
"""DOMAIN_MIGRATE_PREPARE3_PARAMS, DOMAIN_MIGRATE_FINISH3_PARAMS."""
REGISTER_CLOSE_CALLBACK, UNREGISTER_CLOSE_CALLBACK, CONNECTION_CLOSED = 360, 361, 362
PING, PONG = 1, 2
URI = "qemu:///system"
_NEVER = libvirt.VIR_MIGRATE_TUNNELLED | libvirt.VIR_MIGRATE_OFFLINE | libvirt.VIR_MIGRATE_RDMA_PIN_ALL
_PREFIXES = ("auto_converge.", "bandwidth", "compression", "disks_port", "migrate_disks", "parallel.", "tls.destination")
"""Parameters that touch nothing but the move itself."""


class _Refused(Exception):
    """With the reason."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What this host has promised to take."""

    domain_name: str
    domain_xml: str
    encrypted: bool
    copies_disk: bool
    postcopy: bool


class Passage:
    """One connection's filter, between the peer and this host's libvirt. What it returns may be passed on.

    :raise Forbidden: `call_refused`: by both methods; the connection has to be ended.
    """

    def __init__(self, promise: Promise) -> None:
        self._promise = promise
        self._calls, self._replies = Frames(), Frames()
        self.left = False
        """The peer's libvirt has said goodbye: what comes after is the end, in order."""

    def to_libvirt(self, data: bytes) -> bytes:
        """What the peer says."""
        return self._pass(self._calls, data, self._check_call)

    def from_libvirt(self, data: bytes) -> bytes:
        """What is answered. Checked as well: it goes to another host's libvirtd."""
        return self._pass(self._replies, data, _check_answer)

    def _pass(self, frames: Frames, data: bytes, check: Callable[[Frame], None]) -> bytes:
        passed = bytearray()
        try:
            for frame in frames.feed(data):
                check(frame)
                passed += frame.encode()
        except (_Refused, NotRpc) as error:
            raise Forbidden("call_refused", f"the peer's libvirt asked for what has no place in a move ({error}): see the log of both hosts") from error
        return bytes(passed)

    def _check_call(self, frame: Frame) -> None:
        if _is_keepalive(frame):
            return
        check = _CALLS.get(frame.procedure) if (frame.program, frame.version, frame.kind) == (REMOTE, VERSION, Kind.CALL) else None
        if check is None:
            raise _Refused(f"{frame.kind.name.lower()} {frame.procedure} of program {frame.program:#x}")
        self.left = self.left or frame.procedure == CLOSE
        payload = Xdr(frame.payload)
        check(payload, self._promise)
        payload.end()


def _is_keepalive(frame: Frame) -> bool:
    return (frame.program, frame.version, frame.kind) == (KEEPALIVE, VERSION, Kind.MESSAGE) and frame.procedure in {PING, PONG} and not frame.payload


def _check_answer(frame: Frame) -> None:
    answer = frame.kind is Kind.REPLY and frame.procedure in _CALLS
    event = frame.kind is Kind.MESSAGE and frame.procedure == CONNECTION_CLOSED
    if not (_is_keepalive(frame) or ((frame.program, frame.version) == (REMOTE, VERSION) and (answer or event))):
        raise _Refused(f"{frame.kind.name.lower()} {frame.procedure} of program {frame.program:#x} as an answer")


def _nothing(_payload: Xdr, _promise: Promise) -> None:
    """No arguments."""


def _feature(payload: Xdr, _promise: Promise) -> None:
    payload.word()


def _open(payload: Xdr, _promise: Promise) -> None:
    """A connection URI may name another machine, or a program to reach it with: only QEMU's driver here."""
    uri, flags = payload.optional_string(), payload.word()
    if uri != URI or flags:
        raise _Refused(f"a connection to {uri!r} with flags {flags:#x}")


def _prepare(payload: Xdr, promise: Promise) -> None:
    if "destination_xml" not in _read_move(payload, promise):
        raise _Refused("no domain")


def _finish(payload: Xdr, promise: Promise) -> None:
    """The domain is looked up by this name."""
    if "destination_name" not in _read_move(payload, promise):
        raise _Refused("no domain's name")
    payload.word()  # whether it was cancelled


def _read_move(payload: Xdr, promise: Promise) -> set[str]:
    """Parameters, cookie and flags of both calls; the parameters' names."""
    parameters = payload.parameters()
    for name, value in parameters:
        _check_parameter(name, value, promise)
    _check_cookie(payload.opaque(), promise)
    _check_flags(payload.word(), promise)
    return {name for name, _ in parameters}


def _check_parameter(name: str, value: Value, promise: Promise) -> None:
    match name, value:
        case (("destination_xml" | "persistent_xml"), str()):
            _check_domain(value, promise)
        case "destination_name", promise.domain_name:
            pass
        case (("migrate_uri" | "disks_uri"), str()) if value.startswith("tcp://"):
            pass  # 'unix://' would make a socket anywhere
        case _ if not name.startswith(_PREFIXES):
            raise _Refused(f"parameter {name} = {str(value)[:100]!r}")


def _check_domain(xml: str, promise: Promise) -> None:
    if why := objection(xml, promise.domain_xml):
        raise _Refused(f"not the promised domain: {why}")


def _check_cookie(cookie: bytes, promise: Promise) -> None:
    """libvirt's own luggage; the domain that is to be kept here for later starts travels in it."""
    text = cookie.rstrip(b"\0").decode(errors="replace")
    if not text:
        return
    if "<!" in text:
        raise _Refused("a cookie with declarations")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without declarations there is nothing to expand
    except ET.ParseError as error:
        raise _Refused(f"a cookie that is not XML: {error}") from None
    for domain in root.iter("domain"):
        _check_domain(ET.tostring(domain, encoding="unicode"), promise)


def _check_flags(flags: int, promise: Promise) -> None:
    """What arrives must wait for GO, whatever the source would like (libvirt cannot do that with post-copy); and memory must not come in the clear."""
    wanted = 0 if promise.postcopy and flags & libvirt.VIR_MIGRATE_POSTCOPY else libvirt.VIR_MIGRATE_PAUSED
    never = _NEVER
    if promise.encrypted:
        wanted |= libvirt.VIR_MIGRATE_TLS
    if not promise.copies_disk:
        never |= libvirt.VIR_MIGRATE_NON_SHARED_DISK | libvirt.VIR_MIGRATE_NON_SHARED_INC
    if not promise.postcopy:
        never |= libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    if flags & wanted != wanted or flags & never:
        raise _Refused(f"flags {flags:#x}")


_CALLS: Mapping[int, Callable[[Xdr, Promise], None]] = {
    OPEN: _open,
    CLOSE: _nothing,
    SUPPORTS_FEATURE: _feature,
    AUTH_LIST: _nothing,
    PREPARE: _prepare,
    FINISH: _finish,
    REGISTER_CLOSE_CALLBACK: _nothing,
    UNREGISTER_CLOSE_CALLBACK: _nothing,
}
"""All that passes, beside keepalive in both directions and the event that the connection was closed."""
