"""What only a real host can show: who QEMU runs as, firmware, whose domains are left alone, uvloop, who answers DNS."""

import asyncio
import contextlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from contract.hosts import IMAGE, NETWORK, LibvirtHost, new_vm, read_content, with_nic
from houyi.base.clock import SystemClock
from houyi.host.console import newest
from houyi.host.real import open_ports
from houyi.host.shell import run
from houyi.model.errors import Conflict, Failed, Invalid
from houyi.model.host import Accelerator
from houyi.model.network import Reservation
from houyi.model.vm import Firmware, VmState
from real.hosts import PrivateHost

pytestmark = pytest.mark.real


async def test_qemu_is_nobody_and_sandboxed(real: LibvirtHost) -> None:
    vm = await real.booted(new_vm())
    process = Path(f"/proc/{real.host.qemu_pid(vm.id)}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split()[1] != "0"
    assert int(status["CapEff"], 16) == 0
    assert status["Seccomp"] == "2"
    arguments = (process / "cmdline").read_bytes().decode().split("\0")
    assert "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in arguments
    folder = real.ports.files / "vms" / vm.id
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (0, 0o711)
    base = folder / "base.raw"
    assert (base.stat().st_uid, base.stat().st_mode & 0o777) == (0, 0o444), "libvirt must not take the shared image over"


@pytest.mark.parametrize("video", [True, False])
async def test_uefi_starts_and_its_variables_go_with_the_vm(real: LibvirtHost, video: bool) -> None:
    vm = await real.have_disk(new_vm(firmware=Firmware.UEFI, video=video))
    nvram = real.ports.files / "vms" / vm.id / "nvram.fd"
    for _ in range(2):  # the second start finds the variables of the first
        await real.ports.machine.start(vm)
        assert (await real.ports.machine.observe())[vm.id].state is VmState.RUNNING
        assert nvram.exists()
        await real.ports.machine.destroy(vm.id)
    await real.ports.machine.undefine(vm.id)
    assert not nvram.exists()


async def test_others_domains_are_neither_seen_nor_touched(real: LibvirtHost) -> None:
    """Not even one that is named as ours are."""
    vm = await real.have_disk(new_vm())
    connection = await asyncio.to_thread(libvirt.open, real.host.uri)
    try:
        machine = "<memory unit='MiB'>32</memory><os><type machine='q35'>hvm</type></os>"
        foreign = connection.createXML(f"<domain type='qemu'><name>houyi-{vm.id}</name><uuid>{vm.id}</uuid>{machine}</domain>")
        try:
            assert await real.ports.machine.observe() == {}
            for act in (real.ports.machine.shutdown, real.ports.machine.destroy, real.ports.machine.undefine):
                await act(vm.id)
            with pytest.raises(Conflict, match="not ours"):
                await real.ports.machine.start(vm)
            assert foreign.isActive()
        finally:
            foreign.destroy()
    finally:
        connection.close()


async def test_a_foreign_stop_is_told_apart_from_ours(real: LibvirtHost) -> None:
    vm = await real.booted(new_vm())
    await real.ports.machine.observe()
    real.host.inside("virsh", "destroy", f"houyi-{vm.id}")
    seen = (await real.ports.machine.observe())[vm.id]
    assert (seen.state, seen.reason.value) == (VmState.STOPPED, "external")


async def test_names_and_addresses_are_served(real: LibvirtHost) -> None:
    reservations = tuple(Reservation(mac=f"52:54:00:00:00:0{n}", address=f"10.80.0.{n}", name=f"vm-{n}") for n in (5, 6))
    await real.ports.networks.ensure(replace(NETWORK, reservations=reservations[:1]))
    daemon = real.host.inside("pgrep", "-o", "dnsmasq")
    rules = real.host.inside("nft", "--handle", "list", "ruleset")
    await real.ports.networks.ensure(replace(NETWORK, reservations=reservations))
    assert real.host.inside("pgrep", "-o", "dnsmasq") == daemon, "the network was restarted"
    assert re.findall("# handle .*", real.host.inside("nft", "--handle", "list", "ruleset")) == re.findall("# handle .*", rules), "the firewall was made anew"
    ask = "import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('vm-6.houyi.internal', None)}))"
    folder = real.host.folder / "lib/dnsmasq"
    assert (real.ports.files / "networks" / NETWORK.id / "52-54-00-00-00-06").read_text() == "52:54:00:00:00:06,10.80.0.6\n"
    assert "10.80.0.6\tvm-6" in next(folder.glob("houyi-*.addnhosts")).read_text()
    resolver = real.host.folder / "resolv.conf"
    resolver.write_text("nameserver 10.80.0.1\noptions timeout:2 attempts:2\n")
    script = f'mount --bind {resolver} $(readlink -f /etc/resolv.conf) && exec {sys.executable} -c "{ask}"'
    assert real.host.inside("unshare", "--mount", "sh", "-c", script).strip() == "['10.80.0.6']"


async def test_bridge_and_rules_go_with_the_network(real: LibvirtHost) -> None:
    await real.ports.networks.ensure(NETWORK)
    assert (real.host.sysfs / "hy-00000010/bridge").is_dir()
    await real.ports.networks.remove(NETWORK.id)
    assert not (real.host.sysfs / "hy-00000010").exists()
    assert "hy-00000010" not in real.host.inside("nft", "list", "ruleset")


async def test_a_network_comes_back_after_libvirtd_and_is_brought_up_again(real: LibvirtHost) -> None:
    await real.ports.networks.ensure(NETWORK)
    real.host.inside("virsh", "net-destroy", "houyi-00000010")
    await real.ports.networks.ensure(NETWORK)
    assert (real.host.sysfs / "hy-00000010/bridge").is_dir()


async def test_changed_settings_of_an_unused_network_take_effect(real: LibvirtHost) -> None:
    await real.ports.networks.ensure(NETWORK)
    await real.ports.networks.ensure(replace(NETWORK, spec=replace(NETWORK.spec, cidr="10.81.0.0/24")))
    assert "10.81.0.1" in real.host.inside("ip", "-4", "addr", "show", "hy-00000010")


async def test_changed_settings_wait_for_the_guests(real: LibvirtHost) -> None:
    await real.ports.networks.ensure(NETWORK)
    vm = await real.have_disk(with_nic(new_vm()))
    await real.ports.machine.start(vm)
    await real.ports.networks.ensure(replace(NETWORK, spec=replace(NETWORK.spec, cidr="10.81.0.0/24")))
    assert "10.80.0.1" in real.host.inside("ip", "-4", "addr", "show", "hy-00000010")
    assert (await real.ports.machine.observe())[vm.id].state is VmState.RUNNING


async def test_several_at_once(real: LibvirtHost) -> None:
    vms = [await real.have_disk(new_vm()) for _ in range(4)]
    await asyncio.gather(*(real.ports.machine.start(vm, paused=True) for vm in vms))
    assert {seen.state for seen in (await real.ports.machine.observe()).values()} == {VmState.PAUSED}


async def test_a_full_disk_leaves_nothing(real: LibvirtHost) -> None:
    settings = real.host.settings("full")
    settings.state_dir.mkdir()
    await run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(settings.state_dir)], timeout=10)
    try:
        ports = await open_ports(settings, SystemClock(), lambda: Accelerator.QEMU, lambda _: real.ports.probe)
        try:
            with pytest.raises(Failed) as caught:
                await ports.disks.fetch_image(IMAGE, read_content, lambda _: None)
            assert caught.value.code == "disk_full"
            assert list((settings.state_dir / "images").iterdir()) == []
            os.link(_tiny_image(settings.state_dir), settings.state_dir / "images" / f"{IMAGE.id}.raw")
            (settings.state_dir / "ballast").write_bytes(bytes(_free(settings.state_dir)))
            with pytest.raises(Failed) as caught:
                await ports.disks.create_disk(new_vm(), IMAGE)
            assert caught.value.code == "disk_full"
            assert await ports.disks.vms() == frozenset()
        finally:
            await ports.close()
    finally:
        await run(["umount", str(settings.state_dir)], timeout=10)


def _tiny_image(folder: Path) -> Path:
    path = folder / "image"
    path.write_bytes(bytes(512))
    return path


def _free(folder: Path) -> int:
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_bsize


async def test_a_closed_folder_is_told_at_the_start(real: LibvirtHost) -> None:
    settings = real.host.settings("closed")
    settings.state_dir.mkdir()
    inner = settings.model_copy(update={"state_dir": settings.state_dir / "locked" / "state", "run_dir": settings.state_dir / "run"})
    (settings.state_dir / "locked").mkdir(mode=0o700)
    with pytest.raises(Invalid) as caught:
        await open_ports(inner, SystemClock(), lambda: Accelerator.QEMU, lambda _: real.ports.probe)
    assert caught.value.code == "path_closed"


async def test_console_log_is_bounded(real: LibvirtHost) -> None:
    """virtlogd rotates at 2 MiB; what is given is the newest MiB across its files."""
    vm = await real.booted(new_vm())
    console = await real.ports.consoles.serial(vm.id)
    await console.write(b"end of it")
    log = await real.until(lambda: real.ports.consoles.log(vm.id), lambda now: b"end of it" in now)
    await console.close()
    path = real.ports.files / "vms" / vm.id / "console.log"
    assert newest(path) == log
    path.with_name("console.log.0").write_bytes(b"o" * (1 << 20))
    assert len(newest(path)) == 1 << 20
    assert newest(path).endswith(log)


def test_uvloop(libvirt_host: PrivateHost) -> None:
    """Production runs uvloop: connection, events and consoles must work on it."""
    import uvloop

    async def life() -> list[str]:
        host = LibvirtHost(libvirt_host)
        await host.open()
        try:
            events = host.ports.machine.events()
            vm = await host.booted(new_vm())
            await host.guest(vm.id, "off")
            told = await host.event(events, vm.id, "guest_shutdown")
            return [told.kind]
        finally:
            await host.close()

    with contextlib.closing(uvloop.new_event_loop()) as loop:
        assert loop.run_until_complete(life()) == ["guest_shutdown"]


def test_nothing_is_left_of_a_private_host() -> None:
    host = PrivateHost()
    init = host.init_pid
    host.close()
    assert not host.folder.exists()
    assert not Path(f"/proc/{init}").exists()
