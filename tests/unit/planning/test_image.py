"""Images are hostile: every known trick is refused, every real image of an accepted format passes, and nothing reads without bound."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from houyi.model.errors import HouyiError, Invalid, TooLarge
from houyi.model.image import DiskFormat
from houyi.planning.image import READ_BYTES_MAX, ImageFound, inspect

LIMIT = 64 << 30
CLUSTER = 1 << 16


class Counted:
    """A reader over bytes that counts what is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.count = 0

    def __call__(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        self.count += length
        return self.data[offset : offset + length]


def look(data: bytes, form: DiskFormat | None = None, limit: int = LIMIT) -> ImageFound:
    read = Counted(data)
    try:
        return inspect(read, len(data), form, limit)
    finally:
        assert read.count <= READ_BYTES_MAX


def refused(data: bytes, form: DiskFormat | None = None) -> str:
    with pytest.raises(Invalid) as caught:
        look(data, form)
    assert caught.value.detail
    return caught.value.code


def qcow2(
    *,
    version: int = 3,
    backing: tuple[int, int] = (0, 0),
    cluster_bits: int = 16,
    size: int = 1 << 30,
    encryption: int = 0,
    l1: tuple[int, int] = (2, CLUSTER),
    refcounts: tuple[int, int] = (2 * CLUSTER, 1),
    snapshots: int = 0,
    incompatible: int = 0,
    header_length: int = 104,
    extensions: bytes = bytes(8),
    l1_entries: tuple[int, ...] = (0, 0),
) -> bytes:
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", version, *backing, cluster_bits, size, encryption, *l1, *refcounts, snapshots, 0)
    if version == 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, header_length)
        head += bytes(max(0, header_length - 104))
    image = bytearray(4 * CLUSTER)
    image[: len(head) + len(extensions)] = head + extensions
    table = struct.pack(f">{len(l1_entries)}Q", *l1_entries)
    image[CLUSTER : CLUSTER + len(table)] = table
    return bytes(image)


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8) + bytes(8)


def test_a_plain_qcow2_is_what_it_says() -> None:
    assert look(qcow2()) == ImageFound(format=DiskFormat.QCOW2, virtual_size_bytes=1 << 30, os_hint="")
    assert look(qcow2(version=2)).format is DiskFormat.QCOW2
    assert look(qcow2(extensions=extension(0x6803F857, b"x" * 48))).format is DiskFormat.QCOW2


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (qcow2(backing=(512, 11)), "image_has_backing_file"),
        (qcow2(version=2, backing=(512, 11)), "image_has_backing_file"),
        (qcow2(backing=(0, 11)), "image_has_backing_file"),
        (qcow2(extensions=extension(0xE2792ACA, b"raw")), "image_has_backing_file"),
        (qcow2(incompatible=4), "image_has_data_file"),
        (qcow2(extensions=extension(0x44415441, b"/etc/passwd")), "image_has_data_file"),
        (qcow2(extensions=extension(0x6803F857, b"x" * 48)[:-8] + extension(0x44415441, b"/etc/shadow")), "image_has_data_file"),
        (qcow2(encryption=1), "image_encrypted"),
        (qcow2(encryption=2), "image_encrypted"),
        (qcow2(extensions=extension(0x0537BE77, bytes(16))), "image_encrypted"),
        (qcow2(extensions=extension(0x23852875, bytes(24))), "image_has_bitmaps"),
        (qcow2(snapshots=1), "image_has_snapshots"),
        (qcow2(incompatible=1), "image_dirty"),
        (qcow2(incompatible=2), "image_corrupt"),
        (qcow2(incompatible=1 << 5), "image_feature_unknown"),
        (qcow2(incompatible=1 << 63), "image_feature_unknown"),
        (qcow2(incompatible=8), "image_feature_unknown"),
        (qcow2(version=1), "image_format_unknown"),
        (qcow2(version=4), "image_format_unknown"),
        (qcow2(cluster_bits=8), "image_corrupt"),
        (qcow2(cluster_bits=63), "image_corrupt"),
        (qcow2(header_length=96), "image_corrupt"),
        (qcow2(header_length=105), "image_corrupt"),
        (qcow2(header_length=(1 << 16) + 8), "image_corrupt"),
        (qcow2(extensions=struct.pack(">II", 0x1234, 0xFFFFFFF0)), "image_corrupt"),
        (qcow2(l1=(0xFFFFFFFF, CLUSTER)), "image_corrupt"),
        (qcow2(l1=(2, 1 << 40)), "image_corrupt"),
        (qcow2(l1=(2, CLUSTER + 8)), "image_corrupt"),
        (qcow2(l1=(1, CLUSTER)), "image_corrupt"),
        (qcow2(l1_entries=(1 << 50, 0)), "image_corrupt"),
        (qcow2(refcounts=(1 << 50, 1)), "image_corrupt"),
        (qcow2(refcounts=(0, 1)), "image_corrupt"),
        (qcow2(refcounts=(2 * CLUSTER, 0xFFFFFFFF)), "image_corrupt"),
        (qcow2(size=0, l1=(0, 0)), "image_empty"),
        (qcow2()[:60], "image_corrupt"),
        (qcow2()[:100], "image_corrupt"),
        (b"QFI\xfb", "image_corrupt"),
    ],
)
def test_hostile_qcow2(image: bytes, code: str) -> None:
    assert refused(image) == code
    assert refused(image, DiskFormat.QCOW2) == code


def test_a_small_file_that_is_a_huge_disk() -> None:
    image = qcow2(size=1 << 44, l1=(1 << 15, CLUSTER)) + bytes(1 << 20)
    with pytest.raises(TooLarge) as caught:
        look(image)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("form", [DiskFormat.RAW, DiskFormat.VMDK, DiskFormat.VHD, DiskFormat.VHDX])
def test_a_format_that_was_said_wrongly(form: DiskFormat) -> None:
    """The classic: a 'raw' disk that a tool later opens as QCOW2."""
    assert refused(qcow2(), form) == "image_format_differs"


DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 2048 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "2"
"""


def vmdk(descriptor: str = DESCRIPTOR, *, capacity: int = 2048, grain: int = 128, at: int = 1, sectors: int = 20, directory: int = 26) -> bytes:
    head = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 1, 3, capacity, grain, at, sectors, 512, 21, directory, 128, 0, b"\n \r\n", 0)
    image = bytearray(1 << 16)
    image[: len(head)] = head
    image[512 : 512 + len(descriptor)] = descriptor.encode()
    return bytes(image)


def test_a_plain_vmdk_is_what_it_says() -> None:
    assert look(vmdk()) == ImageFound(format=DiskFormat.VMDK, virtual_size_bytes=1 << 20, os_hint="")


EXTENT = 'RW 2048 SPARSE "disk.vmdk"'


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (DESCRIPTOR.encode(), "image_has_extents"),
        (b"\n\n# a comment\n" + DESCRIPTOR.encode(), "image_has_extents"),
        (b"COWD" + bytes(2048), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, 'RW 2048 FLAT "/etc/passwd" 0')), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, 'RW 2048 SPARSE "/etc/passwd"')), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, 'RW 2048 SPARSE "json:{}"')), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, EXTENT + '\nRW 2048 FLAT "secret" 0')), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, EXTENT + "\n" + EXTENT)), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace("RW 2048", "RW 4096")), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace("monolithicSparse", "monolithicFlat")), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace("monolithicSparse", "twoGbMaxExtentSparse")), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace(EXTENT, "")), "image_has_extents"),
        (vmdk(capacity=0), "image_has_extents"),
        (vmdk(DESCRIPTOR.replace("parentCID=ffffffff", "parentCID=12345678")), "image_has_backing_file"),
        (vmdk(DESCRIPTOR + 'parentFileNameHint="/etc/passwd"\n'), "image_has_backing_file"),
        (vmdk(DESCRIPTOR + "something else\n"), "image_corrupt"),
        (vmdk(DESCRIPTOR + '\0parentFileNameHint="/etc/passwd"\n'), "image_corrupt"),
        (vmdk(grain=3), "image_corrupt"),
        (vmdk(directory=1 << 40), "image_corrupt"),
        (vmdk(directory=(1 << 64) - 1), "image_corrupt"),
        (vmdk(capacity=1 << 60), "image_corrupt"),
        (vmdk(at=0), "image_corrupt"),
        (vmdk(sectors=1 << 40), "image_corrupt"),
        (vmdk(at=1 << 50), "image_corrupt"),
    ],
)
def test_hostile_vmdk(image: bytes, code: str) -> None:
    assert refused(image) == code


def mbr(size: int = 1 << 20) -> bytes:
    image = bytearray(size)
    image[510:512] = b"\x55\xaa"
    return bytes(image)


def test_raw_has_to_look_like_a_disk_or_to_be_said() -> None:
    assert look(mbr()).format is DiskFormat.RAW
    assert refused(bytes(1 << 20)) == "image_format_unknown"
    assert look(bytes(1 << 20), DiskFormat.RAW).virtual_size_bytes == 1 << 20
    assert look(bytes(1000), DiskFormat.RAW).virtual_size_bytes == 1024
    iso = bytearray(1 << 16)
    iso[32769:32774] = b"CD001"
    assert look(bytes(iso)).os_hint == "iso"


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x1f\x8b\x08", "image_compressed"),
        (b"\xfd7zXZ\0", "image_compressed"),
        (b"\x28\xb5\x2f\xfd", "image_compressed"),
        (b"PK\x03\x04", "image_compressed"),
        (b"LUKS\xba\xbe", "image_encrypted"),
        (b"QED\0", "image_format_unknown"),
        (b"WithoutFreeSpace", "image_format_unknown"),
        (b'json:{"driver":"raw"}', "image_format_unknown"),
        (b"<html>not found</html>", "image_format_unknown"),
    ],
)
def test_what_is_no_disk(head: bytes, code: str) -> None:
    assert refused(head + bytes(2048)) == code


def test_nothing_at_all() -> None:
    assert refused(b"") == "image_empty"


def test_a_vhd_footer_behind_raw_is_no_raw() -> None:
    image = mbr() + b"conectix" + bytes(504)
    assert refused(image, DiskFormat.RAW) in {"image_format_differs"}


def made(tmp_path: Path, form: str, *options: str) -> bytes:
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img")
    raw = tmp_path / "source"
    raw.write_bytes(mbr(3 << 20) + bytes(range(256)) * 4096)
    out = tmp_path / f"disk.{form}"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, str(raw), str(out)], check=True, capture_output=True)
    return out.read_bytes()


@pytest.mark.parametrize(
    ("form", "options", "expected"),
    [
        ("qcow2", (), DiskFormat.QCOW2),
        ("qcow2", ("-o", "compat=0.10"), DiskFormat.QCOW2),
        ("qcow2", ("-c",), DiskFormat.QCOW2),
        ("qcow2", ("-c", "-o", "compression_type=zstd"), DiskFormat.QCOW2),
        ("qcow2", ("-o", "extended_l2=on"), DiskFormat.QCOW2),
        ("qcow2", ("-o", "cluster_size=512"), DiskFormat.QCOW2),
        ("qcow2", ("-o", "cluster_size=2M"), DiskFormat.QCOW2),
        ("vmdk", (), DiskFormat.VMDK),
        ("vmdk", ("-o", "subformat=streamOptimized"), DiskFormat.VMDK),
        ("vpc", (), DiskFormat.VHD),
        ("vpc", ("-o", "subformat=fixed"), DiskFormat.VHD),
        ("vpc", ("-o", "force_size=on"), DiskFormat.VHD),
        ("vhdx", (), DiskFormat.VHDX),
        ("vhdx", ("-o", "subformat=fixed"), DiskFormat.VHDX),
        ("raw", (), DiskFormat.RAW),
    ],
)
def test_real_images_pass(tmp_path: Path, form: str, options: tuple[str, ...], expected: DiskFormat) -> None:
    image = made(tmp_path, form, *options)
    found = look(image)
    assert found.format is expected
    assert 4 << 20 <= found.virtual_size_bytes < 5 << 20
    assert look(image, expected) == found


@pytest.mark.parametrize(
    ("form", "options", "code"),
    [
        ("vmdk", ("-o", "subformat=monolithicFlat"), "image_has_extents"),
        ("vmdk", ("-o", "subformat=twoGbMaxExtentSparse"), "image_has_extents"),
        ("qcow2", ("-o", "encrypt.format=luks,encrypt.key-secret=s", "--object", "secret,id=s,data=abc"), "image_encrypted"),
    ],
)
def test_real_images_in_pieces_are_refused(tmp_path: Path, form: str, options: tuple[str, ...], code: str) -> None:
    assert refused(made(tmp_path, form, *options)) == code


def test_real_differencing_images_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "qcow2")
    for form in ("qcow2", "vmdk"):
        made(tmp_path, form)
        out = tmp_path / f"over.{form}"
        subprocess.run(["qemu-img", "create", "-q", "-f", form, "-b", f"disk.{form}", "-F", form, str(out)], check=True, cwd=tmp_path)
        assert refused(out.read_bytes()) == "image_has_backing_file"


def test_a_vhd_that_became_differencing(tmp_path: Path) -> None:
    image = bytearray(made(tmp_path, "vpc"))
    for at in (0, len(image) - 512):
        image[at + 63] = 4
    assert refused(bytes(image)) == "image_has_backing_file"


def test_a_vhdx_with_a_parent_or_an_open_log(tmp_path: Path) -> None:
    whole = made(tmp_path, "vhdx")
    guid = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
    at = whole.index(guid)
    table = whole.rindex(b"metadata", 0, at)
    offset = table + int.from_bytes(whole[at + 16 : at + 20], "little")
    child = bytearray(whole)
    child[offset + 4] |= 2
    assert refused(bytes(child)) == "image_has_backing_file"
    dirty = bytearray(whole)
    dirty[(64 << 10) + 48] = 1
    assert refused(bytes(dirty)) == "image_dirty"


SEEDS = [qcow2(), qcow2(version=2), vmdk(), mbr(4096), b"vhdxfile" + bytes(300 << 10), b"conectix" + bytes(4096), mbr(4096) + b"conectix" + bytes(504)]


def answer(image: bytes, form: DiskFormat | None) -> ImageFound | str:
    """What was found, or the code of our refusal; any other exception escapes and fails the test."""
    try:
        return look(image, form)
    except HouyiError as error:
        return error.code


@settings(max_examples=400, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.integers(0, 5000) | st.none(),
    form=st.sampled_from([None, *DiskFormat]),
)
def test_whatever_it_is_the_answer_is_ours(seed: bytes, edits: list[tuple[int, bytes]], cut: int | None, form: DiskFormat | None) -> None:
    image = bytearray(seed)
    for at, data in edits:
        image[at : at + len(data)] = data
    found = answer(bytes(image[:cut]), form)
    if isinstance(found, ImageFound):
        assert form in (None, found.format)
        assert 0 < found.virtual_size_bytes <= LIMIT
    else:
        assert found.startswith("image_")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=4096), form=st.sampled_from([None, *DiskFormat]))
def test_noise_gives_an_answer_of_ours(data: bytes, form: DiskFormat | None) -> None:
    found = answer(data, form)
    assert isinstance(found, ImageFound) or found.startswith("image_")
