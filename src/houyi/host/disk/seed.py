"""The NoCloud seed: an ISO 9660 volume `cidata` with meta-data, user-data and network-config. Values become YAML by a library, never by templates.

Names and keys are in meta-data, so that the user's user-data is passed on byte by byte, whatever it is (cloud-config, script, MIME).
"""

import io
import ipaddress
from collections.abc import Mapping
from typing import Any

import pycdlib
import yaml

from houyi.host.disk.files import PASS_THROUGH, Files, Owner, appearing
from houyi.model.errors import Invalid
from houyi.model.ids import NetworkId
from houyi.model.network import DesiredNetwork, NetworkKind
from houyi.model.vm import DesiredNic, DesiredVm

VOLUME = "cidata"
"""The label that cloud-init's NoCloud source looks for."""
NO_USER_DATA = "#cloud-config\n{}\n"


def meta_data(vm: DesiredVm) -> dict[str, Any]:
    """`instance-id` is the VM's id and stays: cloud-init's once-per-instance modules do not run again after a rename."""
    return {"instance-id": vm.id, "local-hostname": vm.name, "public-keys": list(vm.spec.ssh_keys)}


def network_config(vm: DesiredVm, networks: tuple[DesiredNetwork, ...]) -> dict[str, Any]:
    """Version 2. Cards are matched by MAC, so that their order and names in the guest do not matter."""
    known: Mapping[NetworkId, DesiredNetwork] = {network.id: network for network in networks}
    return {"version": 2, "ethernets": {f"nic{index}": _card(nic, known.get(nic.network_id)) for index, nic in enumerate(vm.nics)}}


def _card(nic: DesiredNic, network: DesiredNetwork | None) -> dict[str, Any]:
    """DHCP, except where the platform gives addresses on a bridge: there nobody else would tell the guest. A NAT network's DHCP knows the fixed address."""
    card: dict[str, Any] = {"match": {"macaddress": nic.mac}}
    if network is None or network.spec.kind is NetworkKind.NAT or not nic.address or not network.spec.cidr:
        return card | {"dhcp4": True}
    card |= {"dhcp4": False, "addresses": [f"{nic.address}/{ipaddress.ip_network(network.spec.cidr, strict=False).prefixlen}"]}
    if network.spec.gateway:
        card["routes"] = [{"to": "0.0.0.0/0", "via": network.spec.gateway}]
    if network.spec.dns:
        card["nameservers"] = {"addresses": list(network.spec.dns), "search": [network.spec.domain] if network.spec.domain else []}
    return card


def documents(vm: DesiredVm, networks: tuple[DesiredNetwork, ...]) -> dict[str, bytes]:
    """File name -> content."""
    return {
        "meta-data": _yaml(meta_data(vm)),
        "user-data": (vm.spec.user_data or NO_USER_DATA).encode(),
        "network-config": _yaml(network_config(vm, networks)),
    }


def _yaml(value: dict[str, Any]) -> bytes:
    """One key or list item a line however long it is: small guests read it without a YAML library. ASCII only: PyYAML does not read back
    all the Unicode line breaks that it writes."""
    return yaml.safe_dump(value, sort_keys=False, width=1 << 20).encode()


def iso(contents: Mapping[str, bytes]) -> bytes:
    """An ISO 9660 image with Rock Ridge and Joliet names."""
    image = pycdlib.PyCdlib()
    image.new(vol_ident=VOLUME, rock_ridge="1.09", joliet=3)
    try:
        for name, data in contents.items():
            short = f"/{name.replace('-', '')[:8].upper()}.;1"
            image.add_fp(io.BytesIO(data), len(data), short, rr_name=name, joliet_path=f"/{name}")
        written = io.BytesIO()
        image.write_fp(written)
    finally:
        image.close()
    return written.getvalue()


def write(files: Files, vm: DesiredVm, networks: tuple[DesiredNetwork, ...], owner: Owner) -> None:
    """See Disks.write_seed. A running guest keeps the seed it was started with. :raise Invalid: `text_invalid`. :raise Failed: `disk_full`."""
    try:
        data = iso(documents(vm, networks))
    except UnicodeEncodeError as error:
        raise Invalid("text_invalid", "the name, keys or user-data hold characters that are no Unicode text: remove them") from error
    files.vm(vm.id).mkdir(exist_ok=True)
    files.vm(vm.id).chmod(PASS_THROUGH)
    with appearing(files.seed(vm.id), mode=0o600, owner=owner) as new:
        new.write_bytes(data)
