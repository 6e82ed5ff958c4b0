"""The place in a VM: made through the API like anybody's, worked through its serial console, deleted at the end."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from houyi.local.evaluation.line import Line, open_line
from houyi.local.evaluation.place import Said
from houyi.model.errors import Conflict, Failed, HouyiError, NotFound
from houyi.model.evaluation import Place
from houyi.model.vm import GuestAgent, MigrationPolicy, RestartPolicy
from houyi.sdk import AsyncClient
from houyi.sdk.paths import path
from houyi.wire.v1.operation import Operation
from houyi.wire.v1.vm import Vm, VmCreate

IMAGE = "bench"
DISK_GIB = 1
_SECONDS = 300.0
"""For everything that the platform does with the VM; emulated guests start within half a minute."""
_LOOK_SECONDS = 0.1
"""How exactly the time of a start is known."""
_GRACE_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A VM to make."""

    place: Place
    name: str
    vcpus: int
    memory_mib: int
    host_labels: dict[str, str]
    stamp: str
    """Of the tree that its image must be of; empty: whatever it is."""


class VmVenue:
    """A VM. Use `open_vm`."""

    scratch = "/var/bench"

    def __init__(self, api: AsyncClient, wish: Wish, vm: Vm) -> None:
        self.place = wish.place
        self.vm = vm
        self._api = api
        self._line: Line | None = None

    @property
    def emulated(self) -> bool:
        return self.vm.accelerator != "kvm"

    async def run(self, argv: Sequence[str], seconds: float) -> Said:
        if self._line is None:
            raise Failed("bench_guest_silent", f"{self.vm.name} did not come up again: look at `houyi vm log {self.vm.name}`")
        return await self._line.run(argv, seconds)

    async def boot(self) -> float | None:
        await self._hang_up()
        await self._done(self._api.vms.stop(self.vm.id, grace_seconds=_GRACE_SECONDS))
        begun = time.monotonic()
        await self._done(self._api.vms.start(self.vm.id))
        await self.up()
        took = time.monotonic() - begun
        await self.call()
        return took

    async def peer(self) -> str:
        """The address from which this machine would send to the guest."""
        address = next((nic.address for nic in self.vm.nics if nic.address), "")
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
        raise Failed(
            "bench_no_network", f"this machine has no way to {self.vm.name} ({address or 'it has no address'}): run on the VM's host, or leave the network out"
        )

    async def exits(self, seconds: float) -> tuple[float, dict[str, float]]:
        """(exits a second, by reason), traced for so long. :raise Conflict: `no_vm_exits`: it runs under TCG."""
        found = await self._api.vms.exits(self.vm.id, seconds)
        return found.count_s, {one.reason: one.count_s for one in found.reasons}

    async def call(self) -> None:
        """Open the console, and make the folder for the disk's benchmarks."""
        server = self._api.transport.server
        self._line = await open_line(server, server.websocket_url(path("vms", self.vm.id, "console")))
        await self._line.greet(_SECONDS)
        await self._line.run(("mkdir", "-p", self.scratch), _SECONDS)

    async def close(self) -> None:
        await self._hang_up()
        await self._done(self._api.vms.delete(self.vm.id))

    async def check(self, stamp: str) -> None:
        """:raise Conflict: `bench_image_other`."""
        told = (await self.run(("cat", "/etc/bench"), _SECONDS)).text.strip()
        if stamp and told != stamp:
            raise Conflict(
                "bench_image_other",
                "the image `bench` of the platform is of another build than this machine's tree: remove it (`houyi image delete bench`) and build it anew",
            )

    async def up(self) -> None:
        """Until the guest's agent answers. :raise Failed: `bench_guest_silent`."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            self.vm = await self._api.vms.show(self.vm.id)
            if self.vm.guest_agent is GuestAgent.CONNECTED:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise Failed("bench_guest_silent", f"no agent answers in {self.vm.name} after {_SECONDS:.0f} s: look at `houyi vm log {self.vm.name}`")

    async def _hang_up(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    async def _done(self, asked: Awaitable[Operation]) -> None:
        await self._api.operations.wait(await asked, timeout_seconds=_SECONDS)


async def open_vm(api: AsyncClient, wish: Wish) -> VmVenue:
    """Make and start it. :raise NotFound: `bench_image_missing`. :raise Conflict: `bench_image_other`. :raise Failed: as the platform refuses, or `bench_guest_silent`."""
    asked = VmCreate(
        name=wish.name,
        image=IMAGE,
        vcpus=wish.vcpus,
        memory_mib=wish.memory_mib,
        disk_gib=DISK_GIB,
        video=False,
        restart_policy=RestartPolicy.NEVER,
        migration_policy=MigrationPolicy.NEVER,
        host_labels=wish.host_labels,
        profile=wish.place.profile,
        labels={"houyi.bench": wish.place.profile or "plain"},
    )
    try:
        operation = await api.vms.create(asked)
    except NotFound as missing:
        if missing.code == "image_not_found":
            raise NotFound("bench_image_missing", "the platform has no image `bench`: make it with `houyi image build bench`") from None
        raise
    venue = VmVenue(api, wish, await api.vms.show(str(operation.target_id)))
    try:
        await api.operations.wait(operation, timeout_seconds=_SECONDS)
        await venue.up()
        await venue.call()
        await venue.check(wish.stamp)
    except BaseException:
        with suppress(HouyiError):
            await asyncio.shield(venue.close())
        raise
    return venue
