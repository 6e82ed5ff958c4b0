"""libvirt's bulk statistics in its own words."""

from houyi.host.libvirt.counters import counters_from
from houyi.model.ids import VmId

KVM = {
    "state.state": 1,
    "cpu.time": 2_500_000_000,
    "vcpu.current": 1,
    "vcpu.maximum": 4,
    "vcpu.0.state": 1,
    "vcpu.0.time": 1_500_000_000,
    "vcpu.0.wait": 0,
    "vcpu.0.delay": 250_000_000,
    "vcpu.0.halted": False,
    "vcpu.0.exits.sum": 12345,
    "vcpu.0.halt_exits.sum": 400,
    "vcpu.0.halt_poll_success_ns.sum": 77,
    "vcpu.0.guest_mode.cur": True,
    "vcpu.0.blocking.cur": False,
    "block.count": 1,
    "block.0.name": "vda",
    "block.0.rd.reqs": 3,
    "block.0.rd.bytes": 512,
    "block.0.rd.times": 2_000_000,
    "net.count": 1,
    "net.0.name": "vnet7",
    "net.0.rx.bytes": 90,
    "net.0.tx.drop": 2,
    "balloon.current": 524288,
    "balloon.available": 500 << 10,
    "balloon.unused": 100 << 10,
    "balloon.rss": 256 << 10,
}


def test_what_kvm_counts_is_found_by_its_name() -> None:
    read = counters_from(VmId("a"), "7", KVM, kvm=True, at=5.0, ticks_seconds=6.0)
    assert read.whole
    assert [vcpu.number for vcpu in read.vcpus] == [0], "three more could be plugged in"
    assert read.vcpus[0].kvm == {"exits": 12345.0, "halt_exits": 400.0, "halt_poll_success_ns": 77.0}, "what is no sum does not go on"
    assert (read.cpu_seconds, read.vcpus[0].cpu_seconds, read.vcpus[0].delay_seconds) == (2.5, 1.5, 0.25)
    assert (read.disks[0].name, read.disks[0].read_requests, read.disks[0].read_seconds) == ("vda", 3, 0.002)
    assert (read.nics[0].name, read.nics[0].received_bytes, read.nics[0].sent_drops) == ("nic0", 90, 2)
    assert (read.memory.current_mib, read.memory.used_mib, read.memory.rss_mib) == (512.0, 400.0, 256.0)


def test_a_busy_domain_is_not_whole() -> None:
    """NOWAIT leaves out what only QEMU knows."""
    no_monitor = {name: value for name, value in KVM.items() if not name.startswith("block.0.rd") and not name.endswith(".sum")}
    read = counters_from(VmId("a"), "7", no_monitor, kvm=True, at=5.0, ticks_seconds=6.0)
    assert not read.whole
    assert read.vcpus[0].cpu_seconds == 1.5
    assert read.disks == ()
    assert not counters_from(VmId("a"), "7", {**no_monitor, "block.0.rd.reqs": 1}, kvm=True, at=5.0, ticks_seconds=6.0).whole
    assert counters_from(VmId("a"), "7", {**no_monitor, "block.0.rd.reqs": 1}, kvm=False, at=5.0, ticks_seconds=6.0).whole
