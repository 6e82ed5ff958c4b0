"""Placement: what is chosen fits, what is not chosen has a reason, and equal questions get equal answers."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from houyi.model.host import Accelerator, Host
from houyi.model.ids import HostId
from houyi.model.vm import Firmware, VmSpec
from houyi.planning.placement.choose import choose, limits
from houyi.planning.placement.filters import FILTERS, MEMORY_OVERHEAD_MIB, Fleet, Request, amounts
from houyi.planning.placement.scores import SCORES
from made import an_image, facts

SMALL = {"vcpu": 1, "memory_mib": 512, "disk_gib": 1}


def a_host(name: str = "a", *, cpus: int = 4, memory_mib: int = 4096, disk_gib: int = 100, claimed: Mapping[str, int] | None = None, **values: Any) -> Host:
    joined = values.pop("joined", True)
    return Host(
        id=HostId(name),
        name=name,
        labels=values.pop("labels", {}),
        cordoned=values.pop("cordoned", False),
        facts=facts(cpus=cpus, memory_mib=memory_mib, **values) if joined else None,
        load=None,
        capacity={"vcpu": cpus, "memory_mib": memory_mib, "disk_gib": disk_gib},
        claimed={} if claimed is None else claimed,
        last_seen_at=1.0,
        connected=joined,
        created_at=1.0,
        revision=1,
    )


def fleet(*hosts: Host) -> Fleet:
    return Fleet(hosts=hosts, limits=[limits(host, vcpu=4.0, memory=1.0, disk=2.0, memory_reserved_mib=512) for host in hosts])


def test_what_a_vm_claims() -> None:
    spec = VmSpec(image_id=an_image().id, vcpus=2, memory_mib=1024, disk_gib=10)
    assert amounts(spec) == {"vcpu": 2, "memory_mib": 1024 + MEMORY_OVERHEAD_MIB, "disk_gib": 10}


def test_what_may_be_claimed_on_a_host() -> None:
    host = a_host(cpus=3, memory_mib=1000, disk_gib=7)
    assert limits(host, vcpu=1.5, memory=0.5, disk=2.0, memory_reserved_mib=500) == {"vcpu": 4, "memory_mib": 250, "disk_gib": 14}
    assert limits(host, vcpu=1.0, memory=1.0, disk=1.0, memory_reserved_mib=5000)["memory_mib"] == 0
    gpu = Host(**{name: getattr(host, name) for name in Host.__slots__} | {"capacity": {**host.capacity, "gpu": 2}})
    assert limits(gpu, vcpu=9.0, memory=9.0, disk=9.0, memory_reserved_mib=0)["gpu"] == 2, "what has no ratio is never overcommitted"


@pytest.mark.parametrize(
    ("name", "host", "request_"),
    [
        ("state", a_host(cordoned=True), Request(asked=SMALL)),
        ("state", a_host(joined=False), Request(asked=SMALL)),
        ("accelerator", a_host(accelerator=Accelerator.QEMU), Request(asked=SMALL, accelerator="kvm")),
        ("firmware", a_host(firmwares=("bios",)), Request(asked=SMALL, firmware=Firmware.UEFI.value)),
        ("labels", a_host(labels={"rack": "1"}), Request(asked=SMALL, labels={"rack": "2"})),
        ("labels", a_host(), Request(asked=SMALL, labels={"rack": "2"})),
        ("size", a_host(cpus=1), Request(asked={**SMALL, "vcpu": 2})),
        ("room", a_host(claimed={"memory_mib": 3073}), Request(asked=SMALL)),
        ("room", a_host(claimed={"vcpu": 16}), Request(asked=SMALL)),
        ("room", a_host(), Request(asked={**SMALL, "gpu": 1})),
    ],
)
def test_each_filter_says_no(name: str, host: Host, request_: Request) -> None:
    choice = choose(fleet(host), request_)
    assert choice.host_id is None
    assert choice.removed == {one.name: int(one.name == name) for one in FILTERS}
    (why,) = [one.why_not for one in FILTERS if one.name == name]
    assert choice.why_not == f"1 host: {why}"
    taker = a_host("b", labels={"rack": "2"}, accelerator=Accelerator.KVM, firmwares=("bios", "uefi"))
    if "gpu" not in request_.asked:
        assert choose(fleet(host, taker), request_).host_id == "b"


def test_the_last_unit_can_be_had() -> None:
    full = a_host(claimed={"vcpu": 15, "memory_mib": 3072, "disk_gib": 199})
    assert choose(fleet(full), Request(asked=SMALL)).host_id == "a"
    for resource, amount in SMALL.items():
        assert choose(fleet(full), Request(asked={**SMALL, resource: amount + 1})).host_id is None


def test_nobody_is_there() -> None:
    choice = choose(fleet(), Request(asked=SMALL))
    assert (choice.host_id, choice.why_not, choice.left) == (None, "there is no host", {"vcpu": 0, "memory_mib": 0, "disk_gib": 0})


def test_no_capacity_says_what_is_left_and_why() -> None:
    choice = choose(
        fleet(a_host("a", claimed={"memory_mib": 3000}), a_host("b", claimed={"memory_mib": 3500}), a_host("c", cordoned=True)),
        Request(asked=SMALL | {"memory_mib": 2000}),
    )
    assert choice.why_not == "1 host: not ready (unreachable, cordoned or joining); 2 hosts: not enough left"
    assert choice.left == {"vcpu": 16, "memory_mib": 584, "disk_gib": 200}


def test_hardware_first_then_the_emptier() -> None:
    full_kvm = a_host("kvm", accelerator=Accelerator.KVM, claimed={"memory_mib": 3000, "vcpu": 10})
    assert choose(fleet(a_host("a"), full_kvm), Request(asked=SMALL)).host_id == "kvm"
    assert choose(fleet(a_host("a", claimed={"memory_mib": 512}), a_host("b")), Request(asked=SMALL)).host_id == "b"
    assert choose(fleet(a_host("b"), a_host("a")), Request(asked=SMALL)).host_id == "a", "among equals the first by id"


HOSTS = st.lists(
    st.builds(
        a_host,
        st.uuids().map(str),
        cpus=st.integers(1, 8),
        memory_mib=st.integers(256, 4096),
        claimed=st.fixed_dictionaries({"vcpu": st.integers(0, 40), "memory_mib": st.integers(0, 4096), "disk_gib": st.integers(0, 250)}),
        cordoned=st.booleans(),
        accelerator=st.sampled_from(Accelerator),
    ),
    max_size=8,
    unique_by=lambda host: host.id,
)
ASKED = st.fixed_dictionaries({"vcpu": st.integers(1, 8), "memory_mib": st.integers(64, 4096), "disk_gib": st.integers(1, 100)})


@given(HOSTS, ASKED, st.randoms(use_true_random=False))
def test_what_is_chosen_fits_and_what_is_not_has_a_reason(hosts: list[Host], asked: dict[str, int], random: Any) -> None:
    request = Request(asked=asked)
    choice = choose(fleet(*hosts), request)
    assert sum(choice.removed.values()) + len(choice.scores) == len(hosts)
    assert (choice.host_id is None) == (not choice.scores)
    room = dict(zip((host.id for host in hosts), fleet(*hosts).limits, strict=True))
    for host in hosts:
        fits = not host.cordoned and host.capacity["vcpu"] >= asked["vcpu"] and all(room[host.id][name] - host.claimed[name] >= asked[name] for name in asked)
        assert fits == (host.id in choice.scores)
    for ratings in choice.scores.values():
        assert set(ratings) == {score.name for score in SCORES}
        assert all(0.0 <= ratings[score.name] <= score.weight for score in SCORES)
    if choice.host_id is not None:
        assert sum(choice.scores[choice.host_id].values()) >= max(sum(one.values()) for one in choice.scores.values()) - 1e-3
    shuffled = list(hosts)
    random.shuffle(shuffled)
    again = choose(fleet(*shuffled), request)
    assert (again.host_id, again.removed, again.left) == (choice.host_id, choice.removed, choice.left)
