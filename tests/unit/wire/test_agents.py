"""Every message survives the wire; what is no message of ours is refused."""

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.errors import Problem
from houyi.model.host import HostLoad
from houyi.model.ids import HostId, ImageId, NetworkId, ProjectId, VmId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec, Reservation
from houyi.model.vm import DesiredNic, DesiredVm, NicSpec, ObservedVm, Power, VmSpec, VmState
from houyi.wire import agents
from houyi.wire.agents import Desired, Down, Happening, ImageChunk, Message, Report, StreamOpen, Up, decode_down, decode_up, encode

VM = DesiredVm(
    id=VmId("v"),
    project_id=ProjectId("p"),
    name="hello",
    epoch=3,
    generation=4,
    spec=VmSpec(image_id=ImageId("i"), vcpus=2, memory_mib=256, disk_gib=2, nics=(NicSpec(network_id=NetworkId("n")),), labels={"a": "b"}),
    power=Power.PAUSED,
    nics=(DesiredNic(network_id=NetworkId("n"), mac="52:54:00:00:00:01", address="10.80.0.2"),),
)
NETWORK = DesiredNetwork(
    id=NetworkId("n"),
    name="default",
    spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24", dns=("10.80.0.1",)),
    reservations=(Reservation(mac="52:54:00:00:00:01", address="10.80.0.2", name="hello"),),
)
IMAGE = DesiredImage(id=ImageId("i"), format=DiskFormat.VHD, size_bytes=1, virtual_size_bytes=2, sha256="0" * 64)
LOAD = HostLoad(vms_running=1, memory_free_mib=2, disk_free_gib=3, load1=0.5, libvirt_connected=True)
SEEN = ObservedVm(id=VmId("v"), epoch=3, generation=4, state=VmState.CRASHED, error=Problem("disk_full", "free space"))

DOWN: tuple[Message, ...] = (
    agents.Welcome(host_id=HostId("h"), host_name="n", server_time=1.5, heartbeat_seconds=5.0),
    Desired(revision=7, vms=(VM,), networks=(NETWORK,), images=(IMAGE,)),
    ImageChunk(request=1, data=b"\0\xff", error=Problem("a", "b")),
    StreamOpen(stream=1, vm_id=VmId("v"), kind="vnc"),
    agents.Refused(problem=Problem("host_unknown", "join again")),
    agents.JoinDone(host_id=HostId("h"), certificate_pem="c", ca_pem="a"),
)
UP: tuple[Message, ...] = (
    Report(serial=1, load=LOAD, vms=(SEEN,), gone=(VmId("w"),), complete=True, events=(Happening(vm_id=VmId("v"), kind="guest_panic", detail="", at=1.0),)),
    agents.ImageAsk(request=1, image_id=ImageId("i"), offset=0, length=agents.CHUNK_BYTES),
    agents.StreamData(stream=1, data=b"\x1b[A"),
    agents.JoinAsk(token_id="t", secret="s", name="n", csr_pem="c"),
)


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_down(message: Message) -> None:
    assert decode_down(encode(message)) == message


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_up(message: Message) -> None:
    assert decode_up(encode(message)) == message


@pytest.mark.parametrize("message", [m for m in UP if type(m) not in typing.get_args(Down)], ids=lambda message: type(message).__name__)
def test_a_message_of_the_other_direction_is_refused(message: Message) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_down(encode(message))


def test_an_unknown_state_is_refused() -> None:
    raw = msgspec.msgpack.decode(encode(UP[0]))
    raw["vms"][0]["state"] = "levitating"
    with pytest.raises(msgspec.ValidationError):
        decode_up(msgspec.msgpack.encode(raw))


def test_a_newer_peers_extra_field_does_no_harm() -> None:
    raw = msgspec.msgpack.decode(encode(UP[0]))
    raw["mood"] = "fine"
    assert decode_up(msgspec.msgpack.encode(raw)) == UP[0]


@given(st.binary(max_size=200))
def test_noise_is_refused_in_one_way(data: bytes) -> None:
    for decode in (decode_up, decode_down):
        try:
            message = decode(data)
        except msgspec.DecodeError:
            continue
        assert isinstance(message, typing.get_args(Up) + typing.get_args(Down))
