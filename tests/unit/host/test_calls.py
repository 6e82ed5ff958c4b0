"""What passes between two libvirts: frames however they are cut, and every call that must not pass."""

import struct
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.host.libvirt.calls.frames import FRAME_BYTES_MAX, Frame, Frames, Kind, NotRpc, Xdr
from houyi.host.libvirt.calls.offered import objection
from houyi.host.libvirt.calls.passage import (
    AUTH_LIST,
    CLOSE,
    CONNECTION_CLOSED,
    FINISH,
    KEEPALIVE,
    OPEN,
    PING,
    PREPARE,
    REGISTER_CLOSE_CALLBACK,
    REMOTE,
    SUPPORTS_FEATURE,
    UNREGISTER_CLOSE_CALLBACK,
    Passage,
    Promise,
)
from houyi.host.libvirt.calls.witness import Witness
from houyi.model.errors import Forbidden

GOLDEN = Path(__file__).parents[2] / "golden" / "domain"
DOMAIN = (GOLDEN / "two-nics.xml").read_text()
NAME = "houyi-11111111-2222-4333-8444-555555555555"
PROMISE = Promise(domain_name=NAME, domain_xml=DOMAIN, encrypted=True, copies_disk=True, postcopy=False)
FLAGS = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PAUSED | libvirt.VIR_MIGRATE_TLS | libvirt.VIR_MIGRATE_NON_SHARED_INC


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def word(value: int) -> bytes:
    return struct.pack(">I", value)


def call(procedure: int, payload: bytes = b"", *, program: int = REMOTE, kind: Kind = Kind.CALL, version: int = 1) -> bytes:
    return Frame(program, version, procedure, kind, 7, 0, payload).encode()


def move(procedure: int, parameters: Mapping[str, str | int] | None = None, *, flags: int = FLAGS, cookie: str = "") -> bytes:
    given_ = {"destination_xml": DOMAIN, "destination_name": NAME, "migrate_uri": "tcp://10.0.0.2", "bandwidth": 100} | dict(parameters or {})
    items = [text(name) + (word(7) + text(value) if isinstance(value, str) else word(4) + struct.pack(">Q", value)) for name, value in given_.items()]
    payload = word(len(items)) + b"".join(items) + text(cookie) + word(flags)
    return call(procedure, payload + (word(0) if procedure == FINISH else b""))


def opening(uri: str = "qemu:///system", flags: int = 0) -> bytes:
    return call(OPEN, word(1) + text(uri) + word(flags))


whole_frames = st.builds(
    Frame, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from(Kind), st.integers(0, 9), st.just(0), st.binary()
)


@given(st.lists(whole_frames, max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_whole_however_they_were_cut(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = Frames()
    assert [frame for begin, end in pairwise(edges) for frame in reader.feed(stream[begin:end])] == frames


@given(st.binary(max_size=200))
def test_no_bytes_make_the_readers_fail_otherwise_than_by_saying_so(data: bytes) -> None:
    for read in (Frames().feed, lambda data: Xdr(data).parameters()):
        try:
            read(data)
        except NotRpc:
            continue


@pytest.mark.parametrize("size", [0, 27, FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
def test_impossible_sizes_are_refused_before_anything_is_kept(size: int) -> None:
    with pytest.raises(NotRpc):
        Frames().feed(word(size))


PASSES = {
    "open": opening(),
    "close": call(CLOSE),
    "auth": call(AUTH_LIST),
    "feature": call(SUPPORTS_FEATURE, word(10)),
    "watch": call(REGISTER_CLOSE_CALLBACK) + call(UNREGISTER_CLOSE_CALLBACK),
    "ping": call(PING, program=KEEPALIVE, kind=Kind.MESSAGE),
    "prepare": move(PREPARE),
    "prepare, with luggage": move(PREPARE, cookie="<qemu-migration><nbd port='1'/></qemu-migration>\0"),
    "finish, with the domain to keep": move(FINISH, cookie=f"<qemu-migration>{DOMAIN}</qemu-migration>\0"),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name: str) -> None:
    assert Passage(PROMISE).to_libvirt(PASSES[name]) == PASSES[name]


EVIL = DOMAIN.replace("/var/lib/houyi/vms/11111111-2222-4333-8444-555555555555/disk.qcow2", "/etc/shadow")
REFUSED = {
    "a call that is not of a move (define)": call(11, text(DOMAIN)),
    "a call to destroy": call(12, b""),
    "another program (QEMU's monitor)": call(1, b"", program=0x20008087),
    "another version": call(CLOSE, version=2),
    "with file descriptors": call(CLOSE, kind=Kind.CALL_WITH_FDS),
    "a stream": call(PREPARE, b"x", kind=Kind.STREAM),
    "the tunnelled prepare": call(304, b""),
    "keepalive with luggage": call(PING, b"1234", program=KEEPALIVE, kind=Kind.MESSAGE),
    "a connection onwards": opening("qemu+ssh://elsewhere/system?command=/bin/sh"),
    "another driver": opening("test:///default"),
    "no name": call(OPEN, word(0) + word(0)),
    "open with flags": opening(flags=2),
    "more than a feature": call(SUPPORTS_FEATURE, word(1) + word(2)),
    "a domain that was not promised": move(PREPARE, {"destination_xml": EVIL}),
    "the same in finish": move(FINISH, {"persistent_xml": EVIL}),
    "the same in the cookie": move(FINISH, cookie=f"<qemu-migration>{EVIL}</qemu-migration>"),
    "a cookie with entities": move(FINISH, cookie="<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
    "a cookie that is no XML": move(FINISH, cookie="hello"),
    "another domain's finish": move(FINISH, {"destination_name": "houyi-other"}),
    "a socket anywhere": move(PREPARE, {"migrate_uri": "unix:///etc/cron.d/x"}),
    "disks through a socket": move(PREPARE, {"disks_uri": "unix:///etc/cron.d/x"}),
    "an unknown parameter": move(PREPARE, {"new_thing": "x"}),
    "a name that is a number": move(PREPARE, {"destination_name": 5}),
    "that runs by itself": move(PREPARE, flags=FLAGS & ~libvirt.VIR_MIGRATE_PAUSED),
    "finish that runs by itself": move(FINISH, flags=FLAGS & ~libvirt.VIR_MIGRATE_PAUSED),
    "in the clear": move(PREPARE, flags=FLAGS & ~libvirt.VIR_MIGRATE_TLS),
    "post-copy, which was not agreed": move(PREPARE, flags=FLAGS | libvirt.VIR_MIGRATE_POSTCOPY),
    "tunnelled": move(PREPARE, flags=FLAGS | libvirt.VIR_MIGRATE_TUNNELLED),
    "without a guest": move(PREPARE, flags=FLAGS | libvirt.VIR_MIGRATE_OFFLINE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    passage = Passage(PROMISE)
    passage.to_libvirt(opening())
    with pytest.raises(Forbidden, match="no place in a move") as refused:
        passage.to_libvirt(REFUSED[name])
    assert refused.value.code == "call_refused"


def test_disks_come_only_where_they_are_expected() -> None:
    shared = Promise(domain_name=NAME, domain_xml=DOMAIN, encrypted=False, copies_disk=False, postcopy=False)
    plain = libvirt.VIR_MIGRATE_PAUSED
    assert Passage(shared).to_libvirt(move(PREPARE, flags=plain))
    with pytest.raises(Forbidden):
        Passage(shared).to_libvirt(move(PREPARE, flags=plain | libvirt.VIR_MIGRATE_NON_SHARED_INC))


def test_only_a_move_that_may_go_post_copy_runs_by_itself() -> None:
    """libvirt refuses to pause what arrives by post-copy."""
    agreed = replace(PROMISE, postcopy=True)
    own = FLAGS & ~libvirt.VIR_MIGRATE_PAUSED
    assert Passage(agreed).to_libvirt(move(PREPARE, flags=own | libvirt.VIR_MIGRATE_POSTCOPY))
    with pytest.raises(Forbidden):
        Passage(agreed).to_libvirt(move(PREPARE, flags=own))


FINISHING, CANCELLING = move(FINISH), move(FINISH)[:-4] + word(1)
DONE = call(FINISH, kind=Kind.REPLY)
FAILED = Frame(REMOTE, 1, FINISH, Kind.REPLY, 7, 1, b"why").encode()


@pytest.mark.parametrize(
    ("asked", "answered", "arrived"),
    [
        (FINISHING, DONE, True),
        (FINISHING, FAILED, False),
        (CANCELLING, DONE, False),
        (move(PREPARE), call(PREPARE, kind=Kind.REPLY), False),
        (b"", DONE, False),
        (FINISHING, Frame(REMOTE, 1, FINISH, Kind.REPLY, 8, 0, b"").encode(), False),
    ],
)
def test_the_witness_knows_when_the_guest_has_arrived(asked: bytes, answered: bytes, arrived: bool) -> None:
    witness = Witness()
    witness.asked(asked[:50])
    witness.asked(asked[50:])
    assert [witness.answered(answered[:9]), witness.answered(answered[9:])] == [False, arrived]


def test_libvirt_is_kept_waiting_only_for_a_guest_that_runs_by_itself() -> None:
    ping, pong = call(PING, program=KEEPALIVE, kind=Kind.MESSAGE), Frame(KEEPALIVE, 1, 2, Kind.MESSAGE, 0, 0, b"").encode()
    paused, free = Witness(), Witness()
    assert (paused.asked(FINISHING + ping), paused.waits) == (b"", False)
    assert (free.asked(ping), free.waits) == (b"", False)
    assert (free.asked(move(FINISH, flags=0) + ping + ping), free.waits) == (pong + pong, True)
    free.answered(FAILED)
    assert (free.asked(ping), free.waits) == (b"", False)


def test_libvirt_gives_up_several_connections() -> None:
    """Its arguments end with whether the move has failed."""
    parallel = FLAGS | libvirt.VIR_MIGRATE_PARALLEL
    cancelled = move(FINISH)[:-4] + word(1)
    one, several, never = Witness(), Witness(), Witness()
    one.asked(move(PREPARE))
    several.asked(move(PREPARE, flags=parallel))
    assert [(each.several, each.gives_up) for each in (one, several, never)] == [(False, False), (True, False), (False, False)]
    for each in (one, several):
        each.asked(cancelled[:50])
        each.asked(cancelled[50:])
    assert (one.gives_up, several.gives_up, several.waits) == (False, True, False)
    several.asked(call(CLOSE))
    assert (several.several, several.gives_up) == (True, False), "only what was said last is held back"
    well = Witness()
    well.asked(move(PREPARE, flags=parallel) + move(FINISH, flags=parallel))
    assert not well.gives_up


def test_a_blind_witness_says_nothing() -> None:
    witness = Witness()
    assert (witness.asked(b"GET / HTTP/1.1"), witness.asked(FINISHING), witness.answered(DONE)) == (b"", b"", False)


def test_answers() -> None:
    passage = Passage(PROMISE)
    good = call(PREPARE, b"\0" * 8, kind=Kind.REPLY) + call(CONNECTION_CLOSED, word(1), kind=Kind.MESSAGE) + call(2, program=KEEPALIVE, kind=Kind.MESSAGE)
    assert passage.from_libvirt(good) == good
    for bad in (call(11, kind=Kind.REPLY), call(OPEN), call(318, kind=Kind.MESSAGE), call(1, kind=Kind.REPLY, program=0x20008087)):
        with pytest.raises(Forbidden):
            Passage(PROMISE).from_libvirt(bad)


def changed(old: str, new: str) -> str:
    assert old in DOMAIN, old
    return DOMAIN.replace(old, new, 1)


SERIAL = DOMAIN[DOMAIN.index("<serial type") : DOMAIN.rindex("</serial>")] + "</serial>"
HARMLESS = {
    "itself": DOMAIN,
    "sizes in KiB": changed('<memory unit="MiB">512<', '<memory unit="KiB">524288<'),
    "what libvirt adds": changed(
        "</devices>",
        '<emulator>/usr/bin/qemu-system-x86_64</emulator><controller type="sata"/><audio id="1" type="none"/><input type="mouse" bus="ps2"/></devices>',
    ),
    "a live disk": changed('disk.qcow2"', 'disk.qcow2" index="2"'),
    "its first port as a console": changed("</devices>", SERIAL.replace("serial type", "console type").replace("</serial>", "</console>") + "</devices>"),
    "another generation": changed('generation="', 'generation="1'),
}
OBJECTIONABLE = {
    "no XML": "<domain",
    "entities": "<!DOCTYPE domain>" + DOMAIN,
    "another type": changed('type="', 'type="x'),
    "another name": changed(NAME, "other"),
    "more memory": changed('<memory unit="MiB">512<', '<memory unit="GiB">512<'),
    "memory in no unit": changed('<memory unit="MiB">512<', '<memory unit="parsec">512<'),
    "more vCPUs": changed("</vcpu>", "0</vcpu>"),
    "an older epoch": changed('epoch="', 'epoch="1'),
    "no mark": changed("houyi:vm ", "houyi:wm "),
    "two of what there is one of": changed("<metadata>", "<metadata/><metadata>"),
    "QEMU's command line": changed("<devices>", '<commandline xmlns="http://libvirt.org/schemas/domain/qemu/1.0"><arg value="-S"/></commandline><devices>'),
    "QEMU as root": changed("<devices>", '<seclabel type="static" model="dac"><label>+0:+0</label></seclabel><devices>'),
    "a host device": changed("</devices>", '<hostdev mode="subsystem" type="usb"><source><vendor id="1"/></source></hostdev></devices>'),
    "a folder of the host": changed("</devices>", '<filesystem><source dir="root"/></filesystem></devices>'),
    "a disk in a namespace": changed("</devices>", '<controller xmlns="a"/></devices>'),
    "a disk over the network": changed("</devices>", '<disk type="network"><source protocol="nbd" name="x"/></disk></devices>'),
    "the same disk twice": DOMAIN.replace("</devices>", DOMAIN[DOMAIN.index("<disk") : DOMAIN.index("</disk>")] + "</disk></devices>"),
    "another network": changed('network="houyi-', 'network="other-'),
    "another MAC": changed('<mac address="52', '<mac address="56'),
    "a chosen tap": changed("<mac ", '<target dev="eth0"/><mac '),
    "a program to run": changed("<mac ", '<script path="evil.sh"/><mac '),
    "a kernel": changed("</os>", "<kernel>/boot/vmlinuz</kernel></os>"),
    "another emulator": changed("</devices>", "<emulator>/usr/bin/qemu-system-../../../tmp/x</emulator></devices>"),
    "a random source over the network": changed(
        "</devices>", '<rng model="virtio"><backend model="egd" type="tcp"><source host="h"/></backend></rng></devices>'
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_may_come(name: str) -> None:
    assert objection(HARMLESS[name], DOMAIN) == ""


@pytest.mark.parametrize("name", OBJECTIONABLE)
def test_must_not_come(name: str) -> None:
    assert objection(OBJECTIONABLE[name], DOMAIN) != ""


UEFI = (GOLDEN / "uefi.xml").read_text()
NVRAM = UEFI[UEFI.index("<nvram>") + 7 : UEFI.index("</nvram>")]
FOUND = '<loader readonly="yes" type="pflash" format="raw">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>'
VARIABLES = f'<nvram template="/usr/share/OVMF/OVMF_VARS_4M.fd" format="raw">{NVRAM}</nvram>'


@pytest.mark.parametrize(
    ("firmware", "comes"),
    [
        (FOUND + VARIABLES, True),
        (f"{FOUND}<nvram>{NVRAM}</nvram>", True),
        (FOUND.replace("/OVMF/OVMF_CODE_4M.fd", "/edk2/x64/OVMF_CODE.4m.fd") + VARIABLES, True),
        (FOUND.replace("/usr/share/OVMF/", "/var/lib/houyi/images/") + VARIABLES, False),
        (FOUND.replace("OVMF_CODE", "../../../etc/x") + VARIABLES, False),
        (FOUND.replace('readonly="yes" ', "") + VARIABLES, False),
        (FOUND + VARIABLES.replace("/usr/share/OVMF/OVMF_VARS_4M.fd", "/etc/shadow"), False),
        (FOUND + VARIABLES.replace(NVRAM, "/usr/share/OVMF/OVMF_VARS_4M.fd"), False),
        (FOUND + VARIABLES.replace(NVRAM, NVRAM.replace("nvram.fd", "disk.qcow2")), False),
        (FOUND + VARIABLES.replace("</nvram>", f'<source file="{NVRAM}"/></nvram>'), False),
        (FOUND + VARIABLES + "<kernel>/usr/share/OVMF/OVMF_CODE_4M.fd</kernel>", False),
    ],
)
def test_firmware_is_the_distribution_s_and_nvram_the_guest_s_own(firmware: str, comes: bool) -> None:
    offered = UEFI.replace(f"<nvram>{NVRAM}</nvram>", firmware)
    assert (objection(offered, UEFI) == "") is comes


def test_a_guest_that_was_promised_without_uefi_does_not_bring_it() -> None:
    assert objection(changed("</os>", f"{FOUND}</os>"), DOMAIN) != ""
    assert objection(changed("</os>", f"{VARIABLES}</os>"), DOMAIN) != ""


@pytest.mark.parametrize(
    ("display", "comes"),
    [
        ('<graphics type="vnc"><listen type="socket" socket="/run/x.vnc"/></graphics>', True),
        ('<graphics type="vnc" socket="/run/x.vnc"/>', True),  # a migratable domain has it so
        ('<graphics type="vnc" socket="/run/y.vnc"/>', False),
        ('<graphics type="vnc" listen="0.0.0.0" autoport="yes"/>', False),
    ],
)
def test_a_display_listens_where_it_was_promised(display: str, comes: bool) -> None:
    plain = changed(DOMAIN[DOMAIN.index("<graphics") : DOMAIN.index("</graphics>") + 11], "") if "<graphics" in DOMAIN else DOMAIN
    promised = plain.replace("</devices>", '<graphics type="vnc"><listen type="socket" socket="/run/x.vnc"/></graphics></devices>')
    assert (objection(plain.replace("</devices>", f"{display}</devices>"), promised) == "") is comes


def test_options_of_qemu_come_only_as_they_were_promised() -> None:
    def line(option: str, blank: str = "") -> str:
        return f'<q:commandline xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0">{blank}<q:arg value="-global"/>{blank}<q:arg value="{option}"/>{blank}</q:commandline>'

    promised = changed("<devices>", line("x86_64-cpu.kvm-pv-ipi=on") + "<devices>")
    assert objection(changed("<devices>", line("x86_64-cpu.kvm-pv-ipi=on", blank="\n    ") + "<devices>"), promised) == "", "however it is indented"
    assert "commandline" in objection(changed("<devices>", line("x86_64-cpu.kvm-pv-ipi=off") + "<devices>"), promised)
    assert "commandline" in objection(changed("<devices>", line("-") + line("x86_64-cpu.kvm-pv-ipi=on") + "<devices>"), promised)
