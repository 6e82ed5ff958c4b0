"""A whole guest, the `tiny` image: address by reservation, name and key by seed, guest agent, orderly ends.

The image is built once into a cache folder (HOUYI_TEST_TINY names a ready one); nothing here is skipped.
"""

import hashlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contract.hosts import NETWORK, LibvirtHost, new_vm
from houyi.model.ids import ImageId
from houyi.model.image import DesiredImage, DiskFormat
from houyi.model.network import Reservation
from houyi.model.vm import DesiredNic, GuestAgent, StateReason, VmState

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

MAC, ADDRESS = "52:54:00:00:00:31", "10.80.0.31"
SAY_HELLO = "import socket, sys; print(socket.create_connection((sys.argv[1], 22), 20).recv(7).decode())"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw4F0q8dxWm1yQhTQXq3vJ5dJrP2b1Yl0w7y0p0mB2c houyi-test"


def image_of(path: Path) -> DesiredImage:
    content = path.read_bytes()
    return DesiredImage(
        id=ImageId("00000000-0000-4000-8000-0000000000cc"),
        format=DiskFormat.QCOW2,
        size_bytes=len(content),
        virtual_size_bytes=int.from_bytes(content[24:32], "big"),
        sha256=hashlib.sha256(content).hexdigest(),
    )


async def test_life_of_a_guest(real: LibvirtHost, tiny_image: Path) -> None:
    image = image_of(tiny_image)

    async def read(offset: int, length: int) -> bytes:
        with tiny_image.open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    ports = real.ports
    vm = new_vm(image_id=image.id, memory_mib=128, ssh_keys=(KEY,), video=True)
    vm = replace(vm, name="tiny-one", nics=(DesiredNic(network_id=NETWORK.id, mac=MAC, address=ADDRESS),))
    network = replace(NETWORK, reservations=(Reservation(mac=MAC, address=ADDRESS, name=vm.name),))
    await ports.networks.ensure(network)
    await ports.disks.fetch_image(image, read, lambda _: None)
    await ports.disks.create_disk(vm, image)
    await ports.disks.write_seed(vm, (network,))
    await ports.machine.start(vm)

    async def agent() -> bool:
        return (await ports.machine.observe())[vm.id].guest_agent is GuestAgent.CONNECTED and await ports.guests.ping(vm.id)

    started = time.monotonic()
    while not await agent():
        assert time.monotonic() - started < 120, (await ports.consoles.log(vm.id))[-3000:]
        await real.pause()
    print(f"guest agent answered after {time.monotonic() - started:.1f} s")
    await real.until(lambda: ports.guests.addresses(vm.id), lambda found: ADDRESS in found)
    assert real.host.inside(sys.executable, "-c", SAY_HELLO, ADDRESS).startswith("SSH-2.0")
    await real.until(lambda: ports.consoles.log(vm.id), lambda log: b"tiny-one" in log)

    booted = len(await ports.consoles.log(vm.id))
    await ports.machine.reboot(vm.id)
    await real.until(lambda: ports.consoles.log(vm.id), lambda log: len(log) > booted + 200)
    while not await agent():
        assert time.monotonic() - started < 240, (await ports.consoles.log(vm.id))[-3000:]
        await real.pause()

    await ports.machine.shutdown(vm.id)
    seen = await real.until(ports.machine.observe, lambda all_: all_[vm.id].state is VmState.STOPPED)
    assert (seen[vm.id].reason, seen[vm.id].guest_agent) == (StateReason.REQUESTED, GuestAgent.DISCONNECTED)
