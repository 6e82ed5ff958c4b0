"""What a pool's hosts are asked, which answer is taken for its baseline, and who runs with another CPU than that. Pure.

A host has authority over itself only, so an answer binds nobody before it is checked: it offers nothing that any host of the pool said that it lacks,
and a second host says the same where there are two that are heard. Of several such answers the one that most hosts give is taken.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from houyi.model.cpu import CpuBaseline, GuestCpu
from houyi.model.host import Host
from houyi.model.ids import HostId, PoolId, VmId
from houyi.model.pool import PoolAnswer, PoolAsk, PoolStatus
from houyi.model.vm import Vm

WITNESSES = 2
"""How many hosts have to answer, if so many are heard: one alone could hold the others to whatever it says."""


def ask_of(pool_id: PoolId, hosts: Sequence[Host]) -> tuple[PoolAsk | None, str]:
    """What to ask the hosts of a pool; None with the reason, '' if it has no host."""
    cpus: set[GuestCpu] = set()
    for host in hosts:
        if host.facts is None or host.facts.guest_cpu is None or not host.facts.cpu_features:
            return None, f"host {host.name} has not said what its CPU is"
        cpus.add(host.facts.guest_cpu)
    accelerators = sorted({host.facts.accelerator.accelerator.value for host in hosts if host.facts is not None})
    if len(accelerators) > 1:
        return None, f"its hosts run guests by {' and by '.join(accelerators)}: a running guest cannot change that, put them into pools of their own"
    if not cpus:
        return None, ""
    ordered = tuple(sorted(cpus, key=lambda cpu: (cpu.model, cpu.vendor, cpu.required, cpu.disabled)))
    digest = hashlib.sha256(repr((accelerators, ordered)).encode()).hexdigest()[:32]
    return PoolAsk(pool_id=pool_id, digest=digest, cpus=ordered), ""


def settle(pool_id: PoolId, before: PoolStatus, hosts: Sequence[Host], answers: Mapping[HostId, PoolAnswer]) -> PoolStatus:
    """The pool's status after a look at its hosts and at what they have said. A baseline stays in force until there is a newer one."""
    ask, trouble = ask_of(pool_id, hosts)
    if not hosts:
        return PoolStatus()
    if ask is None:
        return replace(before, ask=None, trouble=trouble)
    given = {host.id: answers[host.id] for host in hosts if host.id in answers and answers[host.id].digest == ask.digest}
    valid = [one.baseline for one in given.values() if one.baseline is not None and not _beyond(one.baseline, hosts)]
    heard = sum(host.connected for host in hosts)
    if valid and len(valid) >= min(WITNESSES, heard):
        best = min(valid, key=lambda one: (-valid.count(one), -len(one.features), one.cpu.model, one.cpu.required))
        return PoolStatus(ask=ask, baseline=best, settled=ask.digest)
    if before.settled == ask.digest:  # settled once: who is away now, or says something else, unsettles nothing
        return replace(before, ask=ask, trouble="")
    return replace(before, ask=ask, trouble=_why(hosts, given))


def _beyond(baseline: CpuBaseline, hosts: Sequence[Host]) -> frozenset[str]:
    """Features that it has and some host has not."""
    claimed = frozenset(baseline.features).union(baseline.cpu.required)
    return frozenset(name for name in claimed if any(host.facts is not None and name not in host.facts.cpu_features for host in hosts))


def _why(hosts: Sequence[Host], given: Mapping[HostId, PoolAnswer]) -> str:
    names = {host.id: host.name for host in hosts}
    for host_id, answer in given.items():
        if answer.error is not None:
            return f"host {names[host_id]}: {answer.error.detail}"
        if answer.baseline is not None and (more := _beyond(answer.baseline, hosts)):
            return f"host {names[host_id]} answered with what other hosts do not have ({', '.join(sorted(more)[:8])})"
    waiting = [host.name for host in hosts if host.id not in given]
    return f"waiting for {', '.join(waiting[:8])} to say what the CPUs of the pool have in common"


def cpu_on(status: PoolStatus, host_features: Sequence[str]) -> GuestCpu | None:
    """What VMs get at their start on a host of the pool; None: there is no baseline, or this host has joined since, and lacks some of it."""
    baseline = status.baseline
    return baseline.cpu if baseline is not None and set(baseline.features) <= set(host_features) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A VM that runs with another CPU than the pool's."""

    vm_id: VmId
    vm_name: str
    host_id: HostId
    more: tuple[str, ...]
    """Features beyond the baseline: it can go only where they are."""
    less: tuple[str, ...]
    """Features of the baseline that it gets at its next start."""


def apart(baseline: CpuBaseline, vms: Sequence[Vm]) -> tuple[Apart, ...]:
    """Who of the VMs on a pool's hosts. Those that do not run, or do not say what they run with, are not told of."""
    found = []
    for vm in vms:
        if vm.observed is None or not vm.observed.cpu_features or vm.host_id is None:
            continue
        has, common = set(vm.observed.cpu_features), set(baseline.features)
        if has != common:
            more = tuple(sorted(has - common))
            less = () if vm.desired.spec.cpu_model else tuple(sorted(common - has))  # who has named a model wants no other
            if not more and not less:
                continue
            found.append(Apart(vm_id=vm.desired.id, vm_name=vm.desired.name, host_id=vm.host_id, more=more, less=less))
    return tuple(found)
