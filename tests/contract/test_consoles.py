"""What every Consoles does: one suite, run on the simulated and on the real one."""

import pytest

from contract.hosts import Host, new_vm
from houyi.host.passages import Channel
from houyi.model.errors import Conflict
from houyi.model.ids import VmId


async def read_until(channel: Channel, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        data = await channel.read()
        assert data, got
        got += data
    return got


async def test_every_viewer_sees_what_the_guest_says(host: Host) -> None:
    vm = await host.booted(new_vm())
    first, second = await host.ports.consoles.serial(vm.id), await host.ports.consoles.serial(vm.id)
    await first.write(b"hello")
    await read_until(first, b"hello")
    await read_until(second, b"hello")
    await first.close()
    assert await first.read() == b""
    await second.write(b"again")
    await read_until(second, b"again")
    await second.close()
    third = await host.ports.consoles.serial(vm.id)
    await third.write(b"third")
    await read_until(third, b"third")
    await third.close()


async def test_the_stream_ends_with_the_guest(host: Host) -> None:
    vm = await host.booted(new_vm())
    console = await host.ports.consoles.serial(vm.id)
    await host.ports.machine.destroy(vm.id)
    while await console.read():
        pass
    await console.close()


async def test_log_outlives_the_guest_and_grows_with_the_next(host: Host) -> None:
    vm = await host.booted(new_vm())
    await host.ports.machine.destroy(vm.id)
    log = await host.ports.consoles.log(vm.id)
    assert log
    await host.ports.machine.start(vm)
    await host.until(lambda: host.ports.consoles.log(vm.id), lambda now: len(now) > len(log))


async def test_nothing_without_a_guest(host: Host) -> None:
    vm = await host.have_disk(new_vm())
    for vm_id in (vm.id, VmId("00000000-0000-4000-8000-00000000dead")):
        for door in (host.ports.consoles.serial, host.ports.consoles.vnc):
            with pytest.raises(Conflict) as caught:
                await door(vm_id)
            assert caught.value.code == "not_running"
        assert await host.ports.consoles.log(vm_id) == b""


async def test_vnc_greets(host: Host) -> None:
    vm = await host.have_disk(new_vm(video=True))
    await host.ports.machine.start(vm)
    display = await host.ports.consoles.vnc(vm.id)
    assert (await read_until(display, b"\n")).startswith(b"RFB 003.")
    await display.close()


async def test_vnc_without_a_display(host: Host) -> None:
    vm = await host.have_disk(new_vm(video=False))
    await host.ports.machine.start(vm)
    with pytest.raises(Conflict) as caught:
        await host.ports.consoles.vnc(vm.id)
    assert caught.value.code == "no_video"
