"""Parts of image building that need no archive: the boot disk, the initramfs, the shell that reads the seed. The whole is built and booted by tests/real."""

import gzip
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from contract.hosts import new_vm
from houyi.host.build import bootdisk, kernel, tiny
from houyi.host.disk.seed import documents
from houyi.model.ids import ImageId, NetworkId, VmId
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec
from houyi.model.vm import DesiredNic

TINY_FILES = Path(tiny.__file__).with_name("tiny_files")
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMVyXFXZNqFpDkCTeDjrrQ7reaoGfR/vQbkB7EVZurhz"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ" + "C7" * 180 + "=="


def test_an_initramfs_can_be_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(b"\x7fELF" + bytes(1001))
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").symlink_to("busybox")
    archive = kernel.initramfs(root)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["cpio", "-idm", "--quiet"], input=gzip.decompress(archive), cwd=out, check=True)
    assert (out / "bin/busybox").read_bytes() == (root / "bin/busybox").read_bytes()
    assert (out / "bin/busybox").stat().st_mode & 0o777 == 0o755
    assert (out / "bin/sh").readlink() == Path("busybox")
    assert kernel.initramfs(root) == archive


async def test_modules_come_with_what_they_need(tmp_path: Path) -> None:
    tree = tmp_path / "lib/modules/6.1.0"
    for name in ("virtio", "virtio_blk", "crc"):
        (tree / "kernel").mkdir(parents=True, exist_ok=True)
        (tree / f"kernel/{name}.ko").write_bytes(name.encode())
    (tree / "modules.dep").write_text("kernel/virtio_blk.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/crc.ko:\n")
    (tree / "modules.builtin").write_text("kernel/fs/ext4.ko\n")
    found = kernel.Kernel(version="6.1.0", image=tmp_path / "vmlinuz", modules=tree)
    loaded = kernel.choose_modules(found, ("virtio_blk", "ext4"), ("absent",), tmp_path / "root")
    assert loaded == ("virtio_blk",)
    target = tmp_path / "root/lib/modules/6.1.0"
    assert {path.name for path in (target / "kernel").iterdir()} == {"virtio.ko", "virtio_blk.ko"}
    assert (target / "modules.dep").read_text().splitlines() == ["kernel/virtio.ko:", "kernel/virtio_blk.ko: kernel/virtio.ko"]
    with pytest.raises(Exception, match="absent"):
        kernel.choose_modules(found, ("absent",), (), tmp_path / "root")


def test_the_partition_table_says_where_things_are(tmp_path: Path) -> None:
    root = tmp_path / "root.img"
    root.write_bytes(b"R" * (2 << 20))
    raw = tmp_path / "disk.img"
    esp = tmp_path / "esp.img"
    esp.write_bytes(b"E" * (4 << 20))
    bootdisk.assemble(raw, b"B" * 512, b"C" * 1000, esp, root)
    disk = raw.read_bytes()
    assert disk[:440] == b"B" * 440
    assert disk[510:512] == b"\x55\xaa"
    assert disk[512:1512] == b"C" * 1000
    entries = [struct.unpack_from("<B3sB3sII", disk, 446 + 16 * number) for number in range(4)]
    assert [(entry[0], entry[2], entry[4], entry[5]) for entry in entries[:2]] == [(0, 0xEF, 2048, 8192), (0x80, 0x83, 10240, 4096)]
    assert [entry[5] for entry in entries[2:]] == [0, 0]
    assert disk[2048 * 512 : 2048 * 512 + 1] == b"E"
    assert disk[10240 * 512 : 10240 * 512 + (2 << 20)] == root.read_bytes()


@pytest.mark.parametrize("script", sorted(path.name for path in TINY_FILES.iterdir() if path.read_bytes().startswith(b"#!")))
def test_scripts_are_shell_that_busybox_understands(script: str) -> None:
    subprocess.run(["busybox", "sh", "-n", str(TINY_FILES / script)], check=True)


def function(name: str, script: str = "seed") -> str:
    """The text of a function of a script."""
    text = (TINY_FILES / script).read_text()
    start = text.index(f"{name}() {{")
    return text[start : text.index("\n}\n", start) + 3]


def sh(program: str, *arguments: str) -> str:
    return subprocess.run(["busybox", "sh", "-c", program, "sh", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox")
@pytest.mark.parametrize("width", [80, 10_000])
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"hostname": "a", "ssh_authorized_keys": [f"{ED25519} me@here", RSA]}, [ED25519, RSA]),
        ({"users": [{"name": "x", "ssh_authorized_keys": [RSA + " a comment of several words"]}], "zone": "z"}, [RSA]),
        ({"public-keys": [ED25519]}, [ED25519]),
        ({"ssh_authorized_keys": []}, []),
        ({"note": ED25519}, []),
        ({"aaa": 1, "ssh_authorized_keys": [ED25519], "write_files": [{"content": RSA}]}, [ED25519]),
    ],
)
def test_keys_are_found_however_yaml_wraps_them(tmp_path: Path, document: dict[str, object], expected: list[str], width: int) -> None:
    file = tmp_path / "user-data"
    file.write_text("#cloud-config\n" + yaml.safe_dump(document, width=width))
    assert [" ".join(line.split()) for line in sh(function("keys") + 'keys "$1" || true', str(file)).splitlines()] == expected


@pytest.mark.parametrize(
    ("line", "expected"), [("local-hostname: web-1", "web-1"), ("local-hostname: 'web-1'", "web-1"), ('local-hostname: "web-1" ', "web-1"), ("x: y", "")]
)
def test_values_of_the_seed(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "meta-data"
    file.write_text(f"instance-id: i-1\n{line}\n")
    assert sh(function("value") + 'value local-hostname "$1"', str(file)).strip() == expected


def test_a_card_gets_what_the_seed_gives_its_mac(tmp_path: Path) -> None:
    """Out of the very document that the host writes."""
    nat = DesiredNetwork(id=NetworkId("n1"), name="nat", spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24"))
    bridge = DesiredNetwork(
        id=NetworkId("n2"),
        name="lab",
        spec=NetworkSpec(kind=NetworkKind.BRIDGE, cidr="10.94.0.0/16", bridge="br0", gateway="10.94.0.1", dns=("10.94.0.1", "9.9.9.9"), domain="a.b"),
    )
    macs = ("52:54:00:00:00:31", "52:54:00:AA:bb:32")
    nics = tuple(
        DesiredNic(network_id=network.id, mac=mac, address=address) for network, mac, address in ((nat, macs[0], "10.80.0.2"), (bridge, macs[1], "10.94.0.7"))
    )
    vm = replace(new_vm(image_id=ImageId("i"), memory_mib=128), id=VmId("v"), nics=nics)
    file = tmp_path / "network-config"
    file.write_bytes(documents(vm, (nat, bridge))["network-config"])
    found = [sh(function("given", "card") + 'given "$1" "$2"', mac.lower(), str(file)).splitlines() for mac in macs]
    assert found == [[], ["address 10.94.0.7/16", "gateway 10.94.0.1", "dns 10.94.0.1", "dns 9.9.9.9", "search a.b"]]
