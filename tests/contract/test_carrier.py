"""What every Carrier does: one suite, run on the simulated and on the real one. A VM's files go to another VM of the same machine, which stands for another host."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from contract.hosts import Host, new_vm
from houyi.host.port import BLOCK_BYTES, Carrier, Parcel
from houyi.model.errors import Failed
from houyi.model.ids import VmId
from houyi.model.vm import DesiredVm


async def carry(carrier: Carrier, from_id: VmId, to: VmId, *, start: int = 0, stop: int = 1 << 60) -> Parcel:
    """The disk's blocks, from `start` to `stop`."""
    (parcel,) = [one for one in await carrier.parcels(from_id) if one.name == "disk"]
    async for offset, data in carrier.blocks(from_id, "disk", start):
        assert offset % BLOCK_BYTES == 0
        assert 0 < len(data) <= BLOCK_BYTES
        assert any(data)
        if offset < stop:
            await carrier.put(to, "disk", offset, data)
    return parcel


def tool(*argv: str | Path) -> bytes:
    return subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout


async def used(host: Host) -> DesiredVm:
    """A VM that has run, and so has written, and does not run."""
    vm = await host.booted(new_vm(disk_gib=2))
    await host.ports.machine.destroy(vm.id)
    return vm


async def test_a_vm_without_a_disk_has_nothing_to_carry(host: Host) -> None:
    assert await host.ports.carrier.parcels(VmId("00000000-0000-4000-8000-00000000dead")) == ()


async def test_a_disk_arrives_as_it_was(host: Host) -> None:
    vm, carrier = await used(host), host.ports.carrier
    there = await host.have_disk(new_vm(disk_gib=2))
    parcel = await carry(carrier, vm.id, there.id)
    sent = await carrier.digest(vm.id, "disk")
    await carrier.accept(there, parcel, sent)
    assert await carrier.arrived(there.id, "disk") == 0, "it is not on its way any more"
    await host.ports.machine.start(there)
    await host.until_up(there.id)


async def test_its_digest_is_that_of_its_blocks(host: Host) -> None:
    vm, carrier = await host.have_disk(new_vm(disk_gib=2)), host.ports.carrier
    digest = hashlib.sha256()
    async for offset, data in carrier.blocks(vm.id, "disk", 0):
        digest.update(offset.to_bytes(8, "big") + data)
    assert await carrier.digest(vm.id, "disk") == digest.hexdigest()


async def test_broken_off_it_goes_on_where_it_was(host: Host) -> None:
    vm, carrier = await host.have_disk(new_vm(disk_gib=2)), host.ports.carrier
    there = await host.have_disk(new_vm(disk_gib=2))
    parcel = await carry(carrier, vm.id, there.id, stop=1)
    had = await carrier.arrived(there.id, "disk")
    assert had <= BLOCK_BYTES
    await carry(carrier, vm.id, there.id, start=had)
    await carrier.accept(there, parcel, await carrier.digest(vm.id, "disk"))


async def test_what_differs_is_refused_and_does_not_stay(host: Host) -> None:
    vm, carrier = await host.have_disk(new_vm(disk_gib=2)), host.ports.carrier
    there = await host.have_disk(new_vm(disk_gib=2))
    before = await carrier.digest(there.id, "disk")
    parcel = await carry(carrier, vm.id, there.id)
    with pytest.raises(Failed) as refused:
        await carrier.accept(there, parcel, "0" * 64)
    assert refused.value.code == "carried_differs"
    assert await carrier.arrived(there.id, "disk") == 0
    assert await carrier.digest(there.id, "disk") == before, "what the VM has there is untouched"


async def test_a_disk_of_another_size_is_refused(host: Host) -> None:
    vm, carrier = await host.have_disk(new_vm(disk_gib=2)), host.ports.carrier
    there = await host.have_disk(new_vm(disk_gib=3))
    parcel = await carry(carrier, vm.id, there.id)
    with pytest.raises(Failed) as refused:
        await carrier.accept(there, parcel, await carrier.digest(vm.id, "disk"))
    assert refused.value.code == "carried_refused"


async def test_what_was_not_accepted_goes_with_the_vm(host: Host) -> None:
    vm, carrier = await host.have_disk(new_vm(disk_gib=2)), host.ports.carrier
    there = await host.have_disk(new_vm(disk_gib=2))
    await carry(carrier, vm.id, there.id)
    await host.ports.disks.remove_vm(there.id)
    assert await carrier.arrived(there.id, "disk") == 0
    assert there.id not in await host.ports.disks.vms()


async def test_nothing_else_is_taken_for_a_disk(host: Host) -> None:
    """Neither a raw disk nor one that keeps its data elsewhere; tests/unit/planning/test_image.py has the corpus."""
    if not host.real:
        pytest.skip("the simulated machine has no formats")
    there = await host.have_disk(new_vm(disk_gib=2))
    carrier, data = host.ports.carrier, b"\x01" * BLOCK_BYTES
    await carrier.put(there.id, "disk", 0, data)
    parcel = Parcel(name="disk", size_bytes=BLOCK_BYTES, stored_bytes=BLOCK_BYTES)
    with pytest.raises(Failed) as refused:
        await carrier.accept(there, parcel, hashlib.sha256(bytes(8) + data).hexdigest())
    assert refused.value.code == "carried_refused"


async def test_the_name_of_another_file_is_not_followed_but_replaced(host: Host, tmp_path: Path) -> None:
    """A disk that says it stands on a file of the host."""
    if not host.real:
        pytest.skip("the simulated machine has no formats")
    there, secret, made = await host.have_disk(new_vm(disk_gib=2)), tmp_path / "secret", tmp_path / "made"
    secret.write_bytes(b"secret" * 100000)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, "-u", made, "2G")
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", made)
    data, digest, carrier = made.read_bytes(), hashlib.sha256(), host.ports.carrier
    for offset in range(0, len(data), BLOCK_BYTES):
        block = data[offset : offset + BLOCK_BYTES]
        if any(block):
            digest.update(offset.to_bytes(8, "big") + block)
            await carrier.put(there.id, "disk", offset, block)
    await carrier.accept(there, Parcel(name="disk", size_bytes=len(data), stored_bytes=len(data)), digest.hexdigest())
    disk = host.ports.files / "vms" / there.id / "disk.qcow2"
    told = json.loads(tool("qemu-img", "info", "-U", "--output=json", disk))
    assert (told["backing-filename"], told["backing-filename-format"]) == (str(disk.with_name("base.raw")), "raw")
    assert b"65536/65536" in tool("qemu-io", "-r", "-f", "qcow2", "-c", "read -P 7 1M 64k", disk)
    assert disk.stat().st_mode & 0o777 == 0o600
