"""Placement: what is chosen fits, what is not chosen has a reason, and equal questions get equal answers."""

import pytest

from fleets import SMALL, a_fleet, a_host
from houyi.model.host import Accelerator, Host
from houyi.model.ids import HostId, PoolId
from houyi.model.vm import Firmware, VmSpec
from houyi.planning.placement.choose import choose, limits
from houyi.planning.placement.filters import FILTERS, MEMORY_OVERHEAD_MIB, amounts
from houyi.planning.placement.fleet import Request
from made import an_image


def test_what_a_vm_claims() -> None:
    spec = VmSpec(image_id=an_image().id, vcpus=2, memory_mib=1024, disk_gib=10)
    assert amounts(spec) == {"vcpu": 2, "memory_mib": 1024 + MEMORY_OVERHEAD_MIB, "disk_gib": 10}


def test_what_may_be_claimed_on_a_host() -> None:
    host = a_host(cpus=3, memory_mib=1000, disk_gib=7)
    assert limits(host, {"vcpu": 1.5, "memory_mib": 0.5, "disk_gib": 2.0}, 500) == {"vcpu": 4, "memory_mib": 250, "disk_gib": 14}
    assert limits(host, {}, 5000)["memory_mib"] == 0
    gpu = Host(**{name: getattr(host, name) for name in Host.__slots__} | {"capacity": {**host.capacity, "gpu": 2}})
    assert limits(gpu, {"vcpu": 9.0, "memory_mib": 9.0, "disk_gib": 9.0}, 0)["gpu"] == 2, "what has no ratio is never overcommitted"


@pytest.mark.parametrize(
    ("name", "host", "request_"),
    [
        ("state", a_host(cordoned=True), Request(asked=SMALL)),
        ("state", a_host(joined=False), Request(asked=SMALL)),
        ("accelerator", a_host(accelerator=Accelerator.QEMU), Request(asked=SMALL, accelerator="kvm")),
        ("firmware", a_host(firmwares=("bios",)), Request(asked=SMALL, firmware=Firmware.UEFI.value)),
        ("labels", a_host(labels={"rack": "1"}), Request(asked=SMALL, labels={"rack": "2"})),
        ("labels", a_host(), Request(asked=SMALL, labels={"rack": "2"})),
        ("candidate", a_host(), Request(asked=SMALL, among=frozenset({HostId("b")}))),
        ("storage", a_host(storages={"slow": "id"}), Request(asked=SMALL, storage="fast")),
        ("cpu", a_host(cpu_models=("Westmere",)), Request(asked=SMALL, cpu_model="Skylake-Server")),
        ("cpu", a_host(cpu_features=("aes",)), Request(asked=SMALL, cpu_features=("aes", "avx2"))),
        ("knobs", a_host(accelerator=Accelerator.QEMU), Request(asked=SMALL, knobs={"hpet": "on", "pv_ipi": "on"})),
        ("pool", a_host(), Request(asked=SMALL, pool_id=PoolId("new"))),
        ("pool", a_host(pool_id="old", pool_name="old"), Request(asked=SMALL, pool_id=PoolId("new"))),
        ("numa", a_host(numa=2, claimed={"memory_mib": 1000, "memory_mib@0": 1000}), Request(asked={**SMALL, "memory_mib": 2000})),
        ("size", a_host(cpus=1), Request(asked={**SMALL, "vcpu": 2})),
        ("room", a_host(claimed={"memory_mib": 3073}), Request(asked=SMALL)),
        ("room", a_host(claimed={"vcpu": 16}), Request(asked=SMALL)),
        ("room", a_host(), Request(asked={**SMALL, "gpu": 1})),
    ],
)
def test_each_filter_says_no(name: str, host: Host, request_: Request) -> None:
    choice = choose(a_fleet(host), request_)
    assert choice.host_id is None
    assert choice.removed == {one.name: int(one.name == name) for one in FILTERS}
    (why,) = [one.why_not for one in FILTERS if one.name == name]
    assert choice.why_not == f"1 host: {why}"
    taker = a_host("b", labels={"rack": "2"}, accelerator=Accelerator.KVM, firmwares=("bios", "uefi"), storages={"fast": "id"}, pool_id="new")
    assert choice.table()[0].removed_by == name
    assert choice.table()[0].why
    if "gpu" not in request_.asked:
        assert choose(a_fleet(host, taker), request_).host_id == "b"


def test_the_last_unit_can_be_had() -> None:
    full = a_host(claimed={"vcpu": 15, "memory_mib": 3072, "disk_gib": 199})
    assert choose(a_fleet(full), Request(asked=SMALL)).host_id == "a"
    for resource, amount in SMALL.items():
        assert choose(a_fleet(full), Request(asked={**SMALL, resource: amount + 1})).host_id is None


def test_nobody_is_there() -> None:
    choice = choose(a_fleet(), Request(asked=SMALL))
    assert (choice.host_id, choice.why_not, choice.left) == (None, "there is no host", {"vcpu": 0, "memory_mib": 0, "disk_gib": 0})


def test_no_capacity_says_what_is_left_and_why() -> None:
    choice = choose(
        a_fleet(a_host("a", claimed={"memory_mib": 3000}), a_host("b", claimed={"memory_mib": 3500}), a_host("c", cordoned=True)),
        Request(asked=SMALL | {"memory_mib": 2000}),
    )
    assert choice.why_not == "1 host: not ready (unreachable, cordoned or joining); 2 hosts: not enough left"
    assert choice.left == {"vcpu": 16, "memory_mib": 584, "disk_gib": 200}


def test_hardware_first_then_the_emptier() -> None:
    full_kvm = a_host("kvm", accelerator=Accelerator.KVM, claimed={"memory_mib": 3000, "vcpu": 10})
    assert choose(a_fleet(a_host("a"), full_kvm), Request(asked=SMALL)).host_id == "kvm"
    assert choose(a_fleet(a_host("a", claimed={"memory_mib": 512}), a_host("b")), Request(asked=SMALL)).host_id == "b"
    assert choose(a_fleet(a_host("b"), a_host("a")), Request(asked=SMALL)).host_id == "a", "among equals the first by id"
