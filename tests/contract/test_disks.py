"""What every Disks does: one suite, run on the simulated and on the real one."""

from dataclasses import replace

import pytest

from contract.hosts import CONTENT, IMAGE, SHARED, Host, new_vm, read_content
from houyi.model.errors import Failed, Invalid, Unavailable
from houyi.model.ids import ImageId, VmId
from houyi.model.vm import VmState


async def test_fetch_makes_the_image_whole_and_tells_its_progress(host: Host) -> None:
    told: list[float] = []
    assert IMAGE.id not in await host.ports.disks.images()
    await host.ports.disks.fetch_image(IMAGE, read_content, told.append)
    assert IMAGE.id in await host.ports.disks.images()
    assert told == sorted(told)
    assert told[-1] == 1.0


async def test_fetch_again_reads_nothing(host: Host) -> None:
    await host.ports.disks.fetch_image(IMAGE, read_content, lambda _: None)

    async def never(_offset: int, _length: int) -> bytes:
        raise AssertionError("the image is here")

    await host.ports.disks.fetch_image(IMAGE, never, lambda _: None)


async def test_interrupted_fetch_goes_on_where_it_ended(host: Host) -> None:
    half = len(CONTENT) // 2
    asked: list[int] = []

    async def breaks(offset: int, length: int) -> bytes:
        if offset >= half:
            raise ConnectionError("the server is gone")
        return CONTENT[offset : min(offset + length, half)]

    async def goes_on(offset: int, length: int) -> bytes:
        asked.append(offset)
        return await read_content(offset, length)

    with pytest.raises(ConnectionError):
        await host.ports.disks.fetch_image(IMAGE, breaks, lambda _: None)
    assert IMAGE.id not in await host.ports.disks.images()
    await host.ports.disks.fetch_image(IMAGE, goes_on, lambda _: None)
    assert asked[0] == half
    assert IMAGE.id in await host.ports.disks.images()


async def test_corrupt_content_is_refused_and_does_not_stay(host: Host) -> None:
    async def corrupt(offset: int, length: int) -> bytes:
        return bytes(byte ^ 1 for byte in await read_content(offset, length))

    with pytest.raises(Failed) as caught:
        await host.ports.disks.fetch_image(IMAGE, corrupt, lambda _: None)
    assert caught.value.code == "image_differs"
    assert IMAGE.id not in await host.ports.disks.images()
    await host.ports.disks.fetch_image(IMAGE, read_content, lambda _: None)  # from the beginning


async def test_short_content_is_corrupt(host: Host) -> None:
    async def short(offset: int, length: int) -> bytes:
        return (await read_content(offset, length))[: max(0, 1000 - offset)]

    with pytest.raises(Failed) as caught:
        await host.ports.disks.fetch_image(IMAGE, short, lambda _: None)
    assert caught.value.code == "image_differs"


async def test_disk_needs_its_image_and_enough_room_for_it(host: Host) -> None:
    with pytest.raises(Unavailable) as caught:
        await host.ports.disks.create_disk(new_vm(), IMAGE)
    assert caught.value.code == "image_missing"
    await host.ports.disks.fetch_image(IMAGE, read_content, lambda _: None)
    with pytest.raises(Invalid) as refused:
        await host.ports.disks.create_disk(new_vm(), replace(IMAGE, virtual_size_bytes=2 << 30))
    assert refused.value.code == "disk_too_small"
    assert await host.ports.disks.vms() == frozenset()


async def test_files_of_a_vm_come_and_go(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    await host.have_disk(vm)
    assert await host.ports.disks.vms() == {vm.id}
    await host.ports.disks.remove_vm(vm.id)
    await host.ports.disks.remove_vm(vm.id)
    assert await host.ports.disks.vms() == frozenset()


async def test_an_image_may_leave_while_vms_stand_on_it(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    await host.ports.disks.remove_image(IMAGE.id)
    await host.ports.disks.remove_image(ImageId("00000000-0000-4000-8000-0000000000bb"))
    assert await host.ports.disks.images() == frozenset()
    await host.ports.machine.start(vm)
    assert (await host.ports.machine.observe())[vm.id].state is VmState.RUNNING


async def test_removing_what_never_was_is_nothing(host: Host) -> None:
    await host.ports.disks.remove_vm(VmId("00000000-0000-4000-8000-00000000dead"))


async def test_a_disk_in_a_shared_folder_is_left_and_found_again(host: Host) -> None:
    """Left by one host and adopted by the next, which here are the same."""
    vm = new_vm(storage=SHARED)
    await host.ports.disks.fetch_image(IMAGE, read_content, lambda _: None)
    assert not await host.ports.disks.adopt_disk(vm), "nobody has made it"
    assert await host.ports.disks.vms() == frozenset()
    await host.booted(vm)
    await host.ports.machine.undefine(vm.id)
    await host.ports.disks.leave_vm(vm.id)
    assert await host.ports.disks.vms() == frozenset()
    assert await host.ports.disks.adopt_disk(vm)
    assert await host.ports.disks.vms() == {vm.id}
    await host.ports.disks.write_seed(vm, ())
    await host.ports.machine.start(vm)
    await host.until_up(vm.id)
    await host.ports.machine.undefine(vm.id)
    assert await host.ports.carrier.parcels(vm.id) == (), "nothing of it has to be carried"
    await host.ports.disks.remove_vm(vm.id)
    assert not await host.ports.disks.adopt_disk(vm), "removed for all"


async def test_a_folder_that_is_not_there_is_said(host: Host) -> None:
    await host.ports.disks.fetch_image(IMAGE, read_content, lambda _: None)
    for act in (host.ports.disks.create_disk(new_vm(storage="other"), IMAGE), host.ports.disks.adopt_disk(new_vm(storage="other"))):
        with pytest.raises(Failed) as refused:
            await act
        assert refused.value.code == "storage_unknown"


async def test_a_disk_of_the_hosts_own_is_never_adopted(host: Host) -> None:
    assert not await host.ports.disks.adopt_disk(new_vm())
