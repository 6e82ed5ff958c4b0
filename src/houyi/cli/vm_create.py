"""`houyi vm create`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from houyi.cli.output import Format, note, show_object, write_data
from houyi.cli.progress import follow, until
from houyi.cli.quantities import parse_nic, parse_pairs, show_gib, show_mib
from houyi.cli.session import COMMON, WAITING, Common, DiskGib, MemoryMib, Waiting, connect, dig
from houyi.model.errors import Failed, Invalid
from houyi.model.vm import Firmware, RestartPolicy
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport

_KEY_PREFIXES = ("ssh-", "ecdsa-", "sk-")


def create(
    name: Annotated[str, Parameter(help="Name of the new VM, which is also its host name: a-z, 0-9 and '-'.")],
    /,
    *,
    image: Annotated[str, Parameter(help="Name or id of the image that its disk starts from.")],
    vm_type: Annotated[str, Parameter(name="--type", help="A size, such as c1.small (`houyi vm-type list`); what is given beside it replaces its value.")] = "",
    vcpus: int | None = None,
    memory: Annotated[MemoryMib | None, Parameter(help="Such as 512MiB or 4GiB.")] = None,
    disk: Annotated[DiskGib | None, Parameter(help="Such as 10GiB; at least as large as the image.")] = None,
    network: Annotated[
        tuple[str, ...],
        Parameter(negative="--no-network", help="NETWORK or NETWORK,address=A.B.C.D; may be given several times. Without it: one NIC on 'default'."),
    ] = ("default",),
    ssh_key: Annotated[
        tuple[str, ...], Parameter(negative=(), help="A key of `houyi ssh-key list`, or a file with a public key; may be given several times.")
    ] = (),
    user_data: Annotated[str, Parameter(help="File with cloud-init user-data ('-': stdin).")] = "",
    restart_policy: Annotated[RestartPolicy, Parameter(help="What happens when the guest ends without being asked to.")] = RestartPolicy.ON_FAILURE,
    firmware: Firmware = Firmware.BIOS,
    video: Annotated[bool, Parameter(help="Whether it has a display, and so VNC.")] = True,
    cpu_model: Annotated[str, Parameter(help="A libvirt CPU model; without it the host's default.", show_default=False)] = "",
    label: Annotated[tuple[str, ...], Parameter(negative=(), help="KEY=VALUE; may be given several times.")] = (),
    protect: Annotated[bool, Parameter(negative=(), help="Protect it from deletion.")] = False,
    start: Annotated[bool, Parameter(help="Start it once it is made.")] = True,
    dry_run: Annotated[bool, Parameter(negative=(), help="Check everything and say where it would go, but make nothing.")] = False,
    wait_for: Annotated[Literal["running", "guest"], Parameter(help="What to wait for: QEMU running, or the guest agent answering from inside.")] = "running",
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> None:
    """Create a VM and start it."""
    body: dict[str, Any] = {
        "name": name,
        "image": image,
        "nics": _checked(lambda: [parse_nic(text) for text in network]),
        "ssh_keys": [key_text(key) for key in ssh_key],
        "user_data": read_text(user_data) if user_data else "",
        "restart_policy": restart_policy,
        "firmware": firmware,
        "video": video,
        "cpu_model": cpu_model,
        "labels": _checked(lambda: parse_pairs(label)),
        "protected": protect,
        "start": start,
    }
    sizes = {"type": vm_type or None, "vcpus": vcpus, "memory_mib": memory, "disk_gib": disk}
    body |= {key: value for key, value in sizes.items() if value is not None}
    with connect(common) as api:
        if dry_run:
            _rehearse(api, body, common)
            return
        operation = follow(api, api.request("POST", path("vms"), body=body), waiting, f"create {name}")
        vm_id = str(operation["target_id"])
        if waiting.wait and start and wait_for == "guest":
            until(
                lambda: dig(api.request("GET", path("vms", vm_id)), "guest_agent") == "connected", waiting, f"create {name}", "waiting for the guest to answer"
            )
        if common.output is not Format.TABLE:
            write_data(operation, common.output)
        elif waiting.wait:
            vm = api.request("GET", path("vms", vm_id))
            given = ", ".join(nic["address"] for nic in vm.get("nics") or () if nic.get("address"))
            note(f"{name} is {vm['state']}{f' at {given}' if given else ''}: `houyi vm console {name}` opens its console")


def _rehearse(api: "Transport", body: dict[str, Any], common: Common) -> None:
    answer = api.request("POST", path("vms"), body=body, params={"dry_run": True})
    facts = [
        ("name", body["name"]),
        ("would go to", str(dig(answer, "host_name") or dig(answer, "host_id") or "no host")),
        ("why not", str(dig(answer, "why_not"))),
        ("size", f"{dig(answer, 'vcpus')} vCPUs, {show_mib(dig(answer, 'memory_mib', 0))} memory, {show_gib(dig(answer, 'disk_gib', 0))} disk"),
    ]
    show_object(answer, facts, common.output)


def _checked(parse: Any) -> Any:
    try:
        return parse()
    except ValueError as wrong:
        raise Invalid("option_malformed", str(wrong)) from None


def read_text(name: str) -> str:
    """The text of a file, or of stdin for '-'. :raise Failed: `file_unreadable`."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except OSError as error:
        raise Failed("file_unreadable", f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failed("file_unreadable", f"cannot read {name}: it is not text (UTF-8)") from None


def key_text(key: str) -> str:
    """A key's name as it is; of a file, the public key in it. :raise Invalid: `private_key_given`: that belongs to nobody else."""
    if "/" not in key and not key.endswith(".pub"):
        return key
    text = read_text(str(Path(key).expanduser())).strip()
    if not text.startswith(_KEY_PREFIXES):
        raise Invalid("not_a_public_key", f"{key} holds no public key: give the file that ends in .pub")
    return text
