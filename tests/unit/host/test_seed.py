"""The NoCloud seed: what is written is what a YAML and ISO reader finds, whatever the names, keys and user-data are."""

import io
import os
from dataclasses import replace
from pathlib import Path

import pycdlib
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from houyi.host.disk import seed
from houyi.host.disk.files import Files, Owner
from houyi.model.errors import Invalid
from houyi.model.ids import ImageId, NetworkId, ProjectId, VmId
from houyi.model.network import DesiredNetwork, NetworkKind, NetworkSpec
from houyi.model.vm import DesiredNic, DesiredVm, Power, VmSpec

VM = DesiredVm(
    id=VmId("11111111-2222-4333-8444-555555555555"),
    project_id=ProjectId("99999999-2222-4333-8444-555555555555"),
    name="hello",
    epoch=1,
    generation=1,
    spec=VmSpec(image_id=ImageId("88888888-2222-4333-8444-555555555555"), vcpus=1, memory_mib=128, disk_gib=1, ssh_keys=("ssh-ed25519 AAAA me",)),
    power=Power.RUNNING,
)
NAT = DesiredNetwork(id=NetworkId("aaaaaaaa-0000-4000-8000-000000000001"), name="n", spec=NetworkSpec(kind=NetworkKind.NAT, cidr="10.80.0.0/24"))
LAN = DesiredNetwork(
    id=NetworkId("bbbbbbbb-0000-4000-8000-000000000001"),
    name="b",
    spec=NetworkSpec(kind=NetworkKind.BRIDGE, cidr="192.0.2.0/25", bridge="br0", gateway="192.0.2.1", dns=("192.0.2.53",)),
)


def read_back(data: bytes) -> dict[str, bytes]:
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(data))
    try:
        assert image.pvd.volume_identifier.decode().strip() == "cidata"
        found = {}
        for name in ("meta-data", "user-data", "network-config"):
            for path in ({"joliet_path": f"/{name}"}, {"rr_path": f"/{name}"}):
                out = io.BytesIO()
                image.get_file_from_iso_fp(out, **path)
                assert found.setdefault(name, out.getvalue()) == out.getvalue()
        return found
    finally:
        image.close()


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


@settings(max_examples=60, deadline=None)
@given(name=TEXT, keys=st.lists(TEXT, max_size=3), user_data=TEXT)
def test_hostile_text_comes_out_as_it_went_in(name: str, keys: list[str], user_data: str) -> None:
    vm = replace(VM, name=name, spec=replace(VM.spec, ssh_keys=tuple(keys), user_data=user_data))
    found = read_back(seed.iso(seed.documents(vm, ())))
    assert yaml.safe_load(found["meta-data"]) == {"instance-id": VM.id, "local-hostname": name, "public-keys": keys}
    assert found["user-data"].decode() == (user_data or seed.NO_USER_DATA)
    assert yaml.safe_load(found["network-config"]) == {"version": 2, "ethernets": {}}


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path, tmp_path)
    files.vms.mkdir()
    with pytest.raises(Invalid) as caught:
        seed.write(files, replace(VM, spec=replace(VM.spec, user_data="\ud800")), (), Owner(os.getuid(), os.getgid()))
    assert caught.value.code == "text_invalid"
    assert not files.vm(VM.id).exists()


def test_keys_are_one_line_each() -> None:
    long = "ssh-rsa " + "A" * 5000 + " somebody somewhere"
    document = seed.documents(replace(VM, spec=replace(VM.spec, ssh_keys=(long,))), ())["meta-data"].decode()
    assert f"- {long}\n" in document


def test_nat_by_dhcp_bridge_by_address_or_dhcp() -> None:
    nics = (
        DesiredNic(network_id=NAT.id, mac="52:54:00:00:00:01", address="10.80.0.2"),
        DesiredNic(network_id=LAN.id, mac="52:54:00:00:00:02", address="192.0.2.7"),
        DesiredNic(network_id=LAN.id, mac="52:54:00:00:00:03", address=""),
    )
    config = seed.network_config(replace(VM, nics=nics), (NAT, LAN))
    assert config["ethernets"] == {
        "nic0": {"match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": True},
        "nic1": {
            "match": {"macaddress": "52:54:00:00:00:02"},
            "dhcp4": False,
            "addresses": ["192.0.2.7/25"],
            "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}],
            "nameservers": {"addresses": ["192.0.2.53"], "search": ["houyi.internal"]},
        },
        "nic2": {"match": {"macaddress": "52:54:00:00:00:03"}, "dhcp4": True},
    }


def test_write_replaces_in_one_step_and_guards_secrets(tmp_path: Path) -> None:
    files = Files(tmp_path, tmp_path)
    files.vms.mkdir()
    owner = Owner(os.getuid(), os.getgid())
    for text in ("first", "second"):
        seed.write(files, replace(VM, spec=replace(VM.spec, user_data=text)), (), owner)
        assert read_back(files.seed(VM.id).read_bytes())["user-data"] == text.encode()
    assert files.seed(VM.id).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in files.vm(VM.id).iterdir()] == ["seed.iso"]
