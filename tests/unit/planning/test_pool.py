"""Which answer becomes a pool's baseline, and who runs apart from it."""

from dataclasses import replace
from typing import Any

import pytest

from fleets import a_host
from houyi.model.cpu import CpuBaseline, GuestCpu, is_sound, sound_features
from houyi.model.errors import Problem
from houyi.model.host import Accelerator, Host
from houyi.model.ids import HostId, PoolId
from houyi.model.pool import PoolAnswer, PoolStatus
from houyi.model.vm import ObservedVm, Vm, VmState
from houyi.planning.pool import apart, ask_of, cpu_on, settle
from made import a_vm, an_image

POOL = PoolId("pool")
NEW, OLD = ("aes", "avx", "avx2"), ("aes", "avx")


def host(name: str, features: tuple[str, ...] = NEW, *, connected: bool = True, **values: Any) -> Host:
    made = a_host(name, cpu_features=features, guest_cpu=GuestCpu(model="M", required=features) if features else None, **values)
    return replace(made, connected=connected)


def common(*features: str, model: str = "M") -> CpuBaseline:
    return CpuBaseline(cpu=GuestCpu(model=model, required=features), features=features)


def settled(hosts: list[Host], before: PoolStatus | None = None, **said: CpuBaseline | Problem | None) -> PoolStatus:
    """`said`: what each host answers to what is asked now."""
    ask, _ = ask_of(POOL, hosts)
    assert ask is not None
    answers = {
        HostId(name): PoolAnswer(
            pool_id=POOL, digest=ask.digest, baseline=one if isinstance(one, CpuBaseline) else None, error=one if isinstance(one, Problem) else None
        )
        for name, one in said.items()
        if one is not None
    }
    return settle(POOL, before or PoolStatus(), hosts, answers)


def test_every_kind_of_cpu_is_asked_for_once() -> None:
    ask, trouble = ask_of(POOL, [host("a"), host("b"), host("c", OLD)])
    assert (ask and [cpu.required for cpu in ask.cpus], trouble) == ([OLD, NEW], "")
    again, _ = ask_of(POOL, [host("c", OLD), host("x")])
    assert again == ask, "what is asked does not depend on who has it, nor on the order"
    other, _ = ask_of(POOL, [host("a")])
    assert (other and other.digest) != (ask and ask.digest)


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ([], ""),
        ([host("a"), a_host("b", joined=False)], "host b has not said what its CPU is"),
        ([host("a"), host("b", ())], "host b has not said what its CPU is"),
        ([host("a"), host("b", accelerator=Accelerator.KVM)], "its hosts run guests by kvm and by qemu"),
    ],
)
def test_what_cannot_be_asked(hosts: list[Host], why: str) -> None:
    ask, trouble = ask_of(POOL, hosts)
    assert ask is None
    assert trouble.startswith(why)
    before = PoolStatus(baseline=common(*OLD), settled="x")
    kept = settle(POOL, before, hosts, {})
    assert kept.baseline == (before.baseline if hosts else None), "what was settled stays in force while there are hosts"
    assert kept.trouble == trouble


def test_two_that_say_the_same() -> None:
    status = settled([host("a"), host("b", OLD)], a=common(*OLD), b=common(*OLD))
    assert (status.baseline, status.trouble, status.ask and status.settled == status.ask.digest) == (common(*OLD), "", True)


def test_one_word_is_not_enough_where_two_are_heard() -> None:
    status = settled([host("a"), host("b", OLD)], a=common(*OLD))
    assert status.baseline is None
    assert status.trouble == "waiting for b to say what the CPUs of the pool have in common"


def test_one_word_is_enough_where_one_is_heard() -> None:
    assert settled([host("a"), host("b", OLD, connected=False)], a=common(*OLD)).baseline == common(*OLD)
    assert settled([host("a")], a=common(*NEW)).baseline == common(*NEW)


def test_nobody_speaks_for_what_another_lacks() -> None:
    status = settled([host("a"), host("b", OLD)], a=common(*NEW), b=common(*OLD))
    assert status.baseline is None
    assert status.trouble == "host a answered with what other hosts do not have (avx2)"
    hidden = CpuBaseline(cpu=GuestCpu(model="M", required=NEW), features=OLD)
    assert settled([host("a"), host("b", OLD)], a=hidden, b=hidden).baseline is None, "what it requires counts, whatever it says that it has"


def test_most_are_believed_else_who_offers_most() -> None:
    hosts = [host(name) for name in "abc"]
    assert settled(hosts, a=common("aes"), b=common("aes"), c=common(*NEW)).baseline == common("aes")
    assert settled(hosts, a=common("aes"), b=common(*OLD)).baseline == common(*OLD)


def test_what_libvirt_says_is_told() -> None:
    status = settled([host("a"), host("b")], a=Problem("libvirt_failed", "CPU vendors do not match"))
    assert status.trouble == "host a: CPU vendors do not match"


def test_an_answer_to_another_question_is_none() -> None:
    answer = PoolAnswer(pool_id=POOL, digest="another", baseline=common(*NEW))
    status = settle(POOL, PoolStatus(), [host("a")], {HostId("a"): answer})
    assert status.baseline is None
    assert status.trouble.startswith("waiting for a")


def test_what_is_settled_is_not_unsettled_by_who_goes_away() -> None:
    hosts = [host("a"), host("b")]
    first = settled(hosts, a=common(*NEW), b=common(*NEW))
    assert settled(hosts, first) == first
    assert settled(hosts, first, a=Problem("x", "y")) == first


def test_the_cpu_of_a_host_that_lacks_some_of_it() -> None:
    status = PoolStatus(baseline=common(*NEW))
    assert cpu_on(status, NEW) == common(*NEW).cpu
    assert cpu_on(status, OLD) is None
    assert cpu_on(PoolStatus(), NEW) is None


def runs(features: tuple[str, ...], **spec: Any) -> Vm:
    desired = a_vm(an_image(), spec=spec)
    observed = ObservedVm(id=desired.id, epoch=1, generation=1, state=VmState.RUNNING, cpu_features=features)
    return Vm(desired=desired, protected=False, host_id=HostId("a"), observed=observed, host_heard=True, created_at=1.0, revision=1)


def test_who_runs_apart() -> None:
    baseline = common(*OLD)
    assert apart(baseline, [runs(OLD), runs(()), replace(runs(NEW), observed=None)]) == ()
    (more,) = apart(baseline, [runs(NEW)])
    assert (more.more, more.less) == (("avx2",), ())
    (less,) = apart(baseline, [runs(("aes",))])
    assert (less.more, less.less) == ((), ("avx",))
    assert apart(baseline, [runs(("aes",), cpu_model="Nehalem")]) == (), "who has named a model has what it wants"


def test_what_hosts_may_say_of_cpus() -> None:
    assert is_sound(GuestCpu(model="EPYC-Rome", vendor="AMD", required=("svme-addr-chk", "3dnow", "sse4.1")))
    for wrong in (GuestCpu(model=""), GuestCpu(model="<x>"), GuestCpu(model="M", required=("a b",)), GuestCpu(model="M", disabled=("x" * 65,))):
        assert not is_sound(wrong)
    assert not is_sound(GuestCpu(model="M", required=tuple(f"f{n}" for n in range(1025))))
    assert sound_features(("b", "a", "a")) == ("a", "b")
    assert sound_features(("a", "<b>")) == ()
    assert sound_features(tuple(f"f{n}" for n in range(1025))) == ()
