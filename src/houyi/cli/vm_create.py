"""`houyi vm create`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from houyi.cli.given import MOVES, TUNING, Moves, OnTrouble, Tuning, changed_pairs, key_text, labels_of, read_text
from houyi.cli.output import Format, note, write_data
from houyi.cli.placement import show_placement
from houyi.cli.progress import follow, until
from houyi.cli.quantities import parse_nic, show_size
from houyi.cli.session import OPTIONS, WAITING, DiskGib, MemoryMib, Options, Waiting, connect, dig
from houyi.model.errors import Invalid
from houyi.model.vm import LOCAL, Firmware, RestartPolicy
from houyi.sdk.paths import path

if TYPE_CHECKING:
    from houyi.sdk.transport import Transport


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Hardware:
    """Options of `vm create` about the machine itself."""

    vm_type: Annotated[
        str, Parameter(name="--type", help="A size, such as c1.small (`houyi vm-type list`); what is given beside it replaces its value.", show_default=False)
    ] = ""
    vcpus: Annotated[int | None, Parameter(help="Number of virtual CPUs.")] = None
    memory: Annotated[MemoryMib | None, Parameter(help="Such as 512MiB or 4GiB.")] = None
    disk: Annotated[DiskGib | None, Parameter(help="Such as 10GiB; at least as large as the image.")] = None
    network: Annotated[
        tuple[str, ...],
        Parameter(
            negative="--no-network",
            help="NETWORK or NETWORK,address=A.B.C.D; may be given several times. Without it: one NIC on 'default'.",
            show_default=False,
        ),
    ] = ("default",)
    firmware: Annotated[Firmware, Parameter(help="What boots the disk.")] = Firmware.BIOS
    video: Annotated[bool, Parameter(help="Whether it has a display, and so VNC.")] = True
    cpu_model: Annotated[str, Parameter(help="A libvirt CPU model; without it the pool's or the host's.", show_default=False)] = ""
    cpu_feature: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="A CPU feature that it must have, such as avx2: it goes where it can be had only; may be given several times."),
    ] = ()

    def body(self) -> dict[str, Any]:
        """As the API takes it. :raise Invalid: `option_malformed`."""
        try:
            nics = [parse_nic(text) for text in self.network]
        except ValueError as wrong:
            raise Invalid("option_malformed", str(wrong)) from None
        sizes = {"type": self.vm_type or None, "vcpus": self.vcpus, "memory_mib": self.memory, "disk_gib": self.disk}
        known = {key: value for key, value in sizes.items() if value is not None}
        features = {"cpu_features": list(self.cpu_feature)} if self.cpu_feature else {}
        return {**known, **features, "nics": nics, "firmware": self.firmware, "video": self.video, "cpu_model": self.cpu_model}


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Place:
    """Options of `vm create` about where it may be."""

    group: Annotated[str, Parameter(help="Placement group that it is made into (`houyi placement-group list`).", show_default=False)] = ""
    pool: Annotated[str, Parameter(help="Only on hosts of this pool (`houyi pool list`).", show_default=False)] = ""
    host_label: Annotated[tuple[str, ...], Parameter(negative=(), help="KEY=VALUE: only on a host that has this label; may be given several times.")] = ()
    storage: Annotated[str, Parameter(help="Where its disk is: 'local', or a folder that hosts share.")] = LOCAL

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        asked = {
            "placement_group": self.group,
            "pool": self.pool,
            "host_labels": labels_of(self.host_label),
            "storage": "" if self.storage == LOCAL else self.storage,
        }
        return {key: value for key, value in asked.items() if value}


def create(
    name: Annotated[str, Parameter(help="Name of the new VM, which is also its host name: a-z, 0-9 and '-'.")],
    /,
    *,
    image: Annotated[str, Parameter(help="Name or id of the image that its disk starts from.")],
    hardware: Hardware = Hardware(),
    place: Place = Place(),
    ssh_key: Annotated[
        tuple[str, ...], Parameter(negative=(), help="A key of `houyi ssh-key list`, or a file with a public key; may be given several times.")
    ] = (),
    user_data: Annotated[str, Parameter(help="File with cloud-init user-data ('-': stdin).", show_default=False)] = "",
    restart_policy: Annotated[RestartPolicy, Parameter(help="What happens when the guest ends without being asked to.")] = RestartPolicy.ON_FAILURE,
    on_trouble: OnTrouble = (),
    moves: Moves = MOVES,
    tuning: Tuning = TUNING,
    label: Annotated[tuple[str, ...], Parameter(negative=(), help="KEY=VALUE; may be given several times.")] = (),
    protect: Annotated[bool, Parameter(negative=(), help="Protect it from deletion.")] = False,
    start: Annotated[bool, Parameter(help="Start it once it is made.")] = True,
    dry_run: Annotated[bool, Parameter(negative=(), help="Check everything and say where it would go, but make nothing.")] = False,
    wait_for: Annotated[Literal["running", "guest"], Parameter(help="What to wait for: QEMU running, or the guest agent answering from inside.")] = "running",
    waiting: Waiting = WAITING,
    options: Options = OPTIONS,
) -> None:
    """Create a VM and start it."""
    body: dict[str, Any] = {
        **hardware.body(),
        **moves.body(),
        **place.body(),
        **({"profile": tuning.profile} if tuning.profile else {}),
        **({"knobs": changed_pairs(tuning.knob, {})} if tuning.knob else {}),
        **({"on_trouble": changed_pairs(on_trouble, {})} if on_trouble else {}),
        "name": name,
        "image": image,
        "ssh_keys": [key_text(key) for key in ssh_key],
        "user_data": read_text(user_data) if user_data else "",
        "restart_policy": restart_policy,
        "labels": labels_of(label),
        "protected": protect,
        "start": start,
    }
    with connect(options) as api:
        if dry_run:
            _rehearse(api, body, options)
            return
        operation = follow(api, api.request("POST", path("vms"), body=body), waiting, f"create {name}")
        if waiting.wait and start and wait_for == "guest":
            _wait_for_guest(api, operation, waiting, name)
        _tell(api, operation, waiting, name, options)


def _wait_for_guest(api: "Transport", operation: dict[str, Any], waiting: Waiting, name: str) -> None:
    where = path("vms", str(operation["target_id"]))
    until(lambda: dig(api.request("GET", where), "guest_agent") == "connected", waiting, f"create {name}", "waiting for the guest to answer")


def _tell(api: "Transport", operation: dict[str, Any], waiting: Waiting, name: str, options: Options) -> None:
    if options.output is not Format.TABLE:
        write_data(operation, options.output)
    elif waiting.wait:
        vm = api.request("GET", path("vms", str(operation["target_id"])))
        given = ", ".join(nic["address"] for nic in vm["nics"] if nic["address"])
        note(f"{name} is {vm['state']}{f' at {given}' if given else ''}: `houyi vm console {name}` opens its console")


def _rehearse(api: "Transport", body: dict[str, Any], options: Options) -> None:
    answer = api.request("POST", path("vms"), body=body, params={"dry_run": True})
    show_placement(answer, [("name", body["name"]), ("size", show_size(answer["vcpus"], answer["memory_mib"], answer["disk_gib"]))], options)
