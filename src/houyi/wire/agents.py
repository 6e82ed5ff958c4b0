"""The link between a host and the server: MessagePack, tagged structs, one schema for both ends.

    /join   no client certificate: JoinHello -> JoinCa ; JoinAsk -> JoinDone | Refused       (one exchange, then closed)
    /link   mutual TLS: Hello -> Welcome, then
            down: Desired (a whole snapshot, whenever anything of it changed), RenewDone, MoveCertificateDone, ImageChunk, Stream*, TraceAsk, Refused
            up:   Report (heartbeat with load, facts when changed, VMs that changed; all VMs first), RenewAsk, MoveCertificateAsk, ImageAsk, Stream*, TraceDone

Level-triggered: losing a message costs latency only, since Desired is always whole and a Report is repeated after a reconnect.
Streams (console, VNC) carry credit: a side may have at most WINDOW bytes in flight that the other has not acknowledged.
"""

from typing import Literal

import msgspec

from houyi.model.errors import Problem
from houyi.model.exits import ExitProfile
from houyi.model.experiment import DesiredTrial, ObservedTrial
from houyi.model.host import HostFacts, HostLoad
from houyi.model.host_report import HostTraits
from houyi.model.ids import HostId, ImageId, VmId
from houyi.model.image import DesiredImage
from houyi.model.latency import LatencyProfile
from houyi.model.line import LineAnswer, LineAsk
from houyi.model.migration import DesiredMove, GuestSample, ObservedMove
from houyi.model.network import DesiredNetwork
from houyi.model.pool import PoolAnswer, PoolAsk
from houyi.model.telemetry import VmRates
from houyi.model.tuning import HostTuned, TuningAsk
from houyi.model.vm import DesiredVm, ObservedVm

PROTOCOL = 1
"""Grows when an old peer could misunderstand a message; the server refuses what it does not speak."""
CHUNK_BYTES = 1 << 20
"""Largest image chunk: keeps one message's memory small beside many hosts, large enough that a round trip costs little."""
WINDOW = 256 << 10
"""Bytes a stream may have unacknowledged: a slow viewer then holds at most this much memory on each side."""
PIECE_BYTES = 64 << 10
"""Largest piece of a stream in one message: keeps other messages of the link moving."""
MAX_MESSAGE_BYTES = 16 << 20
"""What a host may say at once: a report of 1,000 VMs is about 1 MiB. The websocket layer refuses more."""
MAX_DESIRED_BYTES = 256 << 20
"""What the server may say at once: a snapshot of 1,000 VMs is about 1 MiB, and 150 MiB when each has as much user-data, keys and labels as it may
(planning.spec). A host whose snapshot were refused would hear nothing any more, of no VM."""


class Message(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Base of all messages; the tag is the class's name."""


class JoinHello(Message, frozen=True):
    """First word of a host without a certificate: asks for the CA, to compare with the fingerprint in its join token, before it shows the token."""

    protocol: int


class JoinCa(Message, frozen=True):
    ca_pem: str


class JoinAsk(Message, frozen=True):
    token_id: str
    secret: str
    """The join token's secret part."""
    name: str
    csr_pem: str


class JoinDone(Message, frozen=True):
    host_id: HostId
    certificate_pem: str
    ca_pem: str


class Refused(Message, frozen=True):
    """The peer will not go on; the connection is closed after it."""

    problem: Problem


class Hello(Message, frozen=True):
    protocol: int
    boot_id: str
    instance: str
    """Fresh at each start of the agent process: orders reports together with Report.serial."""
    facts: HostFacts


class Welcome(Message, frozen=True):
    host_id: HostId
    host_name: str
    server_time: float
    heartbeat_seconds: float


class Desired(Message, frozen=True):
    """Everything that belongs to this host, as of a revision."""

    revision: int
    vms: tuple[DesiredVm, ...]
    networks: tuple[DesiredNetwork, ...]
    images: tuple[DesiredImage, ...]
    moves: tuple[DesiredMove, ...] = ()
    """Open moves of which this host is an end. Networks and images of VMs that are to land here are in the tuples above, the VMs are not."""
    pool: PoolAsk | None = None
    """What this host's pool wants to know."""
    lines: tuple[LineAsk, ...] = ()
    """Ways to other hosts that are to be measured."""
    trials: tuple[DesiredTrial, ...] = ()
    """Runs of experiments that this host is to make now, each once."""
    tuning: TuningAsk = TuningAsk()
    """What this host's own knobs shall be."""


class Report(Message, frozen=True):
    serial: int
    """Grows within one instance of the agent."""
    load: HostLoad
    facts: HostFacts | None = None
    vms: tuple[ObservedVm, ...] = ()
    gone: tuple[VmId, ...] = ()
    """VMs of which nothing is left on this host: disks, domain, reservations."""
    complete: bool = False
    """Whether `vms` is everything that is on the host."""
    events: tuple["Happening", ...] = ()
    moves: tuple[ObservedMove, ...] = ()
    """Every move that this host is an end of, in every report as long as there is one."""
    at: float = 0.0
    """Unix seconds of the host's clock as this is said; 0: it does not say."""
    samples: tuple[GuestSample, ...] = ()
    """Taken since the last report. One that is lost is no harm."""
    telemetry: tuple[VmRates, ...] = ()
    """What VMs did in periods that have ended since the last report. One that is lost is no harm."""
    pool: PoolAnswer | None = None
    """When it is new, and in every complete report."""
    lines: tuple[LineAnswer, ...] = ()
    """To every line that is asked for, in every report as long as it is."""
    traits: HostTraits | None = None
    """What the host's report is made of: when it is new, and in every complete report."""
    trials: tuple[ObservedTrial, ...] = ()
    """Those of the trials that were asked for that are over, in every report as long as they are asked for."""
    tuned: HostTuned | None = None
    """What the host's own knobs are: as above."""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a VM and that its state alone does not tell (a reset from inside, a panic that was restarted ...)."""

    vm_id: VmId
    kind: str
    """'guest_reboot', 'guest_shutdown', 'guest_panic', 'restarted', 'io_error' ..."""
    detail: str
    at: float


class RenewAsk(Message, frozen=True):
    """The host's certificate is in the last third of its life: a request for the next one, with the same or a new key."""

    csr_pem: str


class RenewDone(Message, frozen=True):
    certificate_pem: str


class MoveCertificateAsk(Message, frozen=True):
    """As RenewAsk, for the certificate that QEMU shows in moves (of a key of its own)."""

    csr_pem: str


class MoveCertificateDone(Message, frozen=True):
    certificate_pem: str


class ImageAsk(Message, frozen=True):
    """Give me `length` bytes of an image at `offset` (at most CHUNK_BYTES)."""

    request: int
    image_id: ImageId
    offset: int
    length: int


class ImageChunk(Message, frozen=True):
    request: int
    data: bytes
    error: Problem | None = None


class StreamOpen(Message, frozen=True):
    """Server to agent: connect this stream to a VM's console."""

    stream: int
    vm_id: VmId
    kind: Literal["serial", "vnc", "log"]
    """'log' sends the console's log and closes."""


class StreamData(Message, frozen=True):
    stream: int
    data: bytes


class StreamAck(Message, frozen=True):
    """`bytes` of the stream have been consumed."""

    stream: int
    bytes: int


class StreamClose(Message, frozen=True):
    stream: int
    problem: Problem | None = None


class TraceAsk(Message, frozen=True):
    """Server to agent: look at what makes a VM exit, or how long its disks take, for so long."""

    request: int
    vm_id: VmId
    seconds: float
    what: Literal["exits", "latency"] = "exits"


class TraceDone(Message, frozen=True):
    """The answer, or why there is none."""

    request: int
    profile: ExitProfile | None = None
    latency: LatencyProfile | None = None
    error: Problem | None = None


Down = (
    Welcome
    | Desired
    | RenewDone
    | MoveCertificateDone
    | ImageChunk
    | StreamOpen
    | StreamData
    | StreamAck
    | StreamClose
    | TraceAsk
    | JoinCa
    | JoinDone
    | Refused
)
Up = JoinHello | JoinAsk | Hello | Report | RenewAsk | MoveCertificateAsk | ImageAsk | StreamData | StreamAck | StreamClose | TraceDone

_encoder = msgspec.msgpack.Encoder()
_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_down(data: bytes) -> Down:
    """:raise msgspec.DecodeError: (and its child ValidationError) for what is no message of ours."""
    return _down.decode(data)


def decode_up(data: bytes) -> Up:
    """:raise msgspec.DecodeError: (and its child ValidationError) for what is no message of ours."""
    return _up.decode(data)
