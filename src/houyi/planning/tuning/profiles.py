"""The profiles there are: named sets of settings for a kind of work.

A profile gives what a host can: what it cannot is left out with its reason (`planning.tuning.resolve`). What a profile asks of a host is for administrators to set
there (`houyi host set HOST --profile`); what it asks of VMs holds for those that name it, and for those on such a host that name none.
"""

from collections.abc import Mapping

from houyi.model.errors import Invalid, NotFound
from houyi.model.tuning import Profile

_PARAVIRTUAL = {"pv_eoi": "on", "pv_ipi": "on", "kvmclock": "on", "hpet": "off"}
"""What every guest that runs under KVM is better with."""

_SHARED_CPUS = {"pv_unhalt": "on", "pv_tlb_flush": "on", "pv_sched_yield": "on"}
"""What helps vCPUs that have to share the host's CPUs with others."""

PROFILES: tuple[Profile, ...] = (
    Profile(
        name="balanced",
        what="for mixed work on hosts that are shared: what KVM offers to guests that know it, and nothing that costs others anything",
        vm={**_PARAVIRTUAL, **_SHARED_CPUS},
        host={"thp": "madvise", "halt_poll_ns": "200000", "halt_poll_ns_grow": "2", "halt_poll_ns_grow_start": "10000", "halt_poll_ns_shrink": "0"},
    ),
    Profile(
        name="latency",
        what="for answers in microseconds: vCPUs stay where they are and do not sleep, packets are looked for instead of waited for",
        vm={
            **_PARAVIRTUAL,
            "tsc_deadline": "on",
            "x2apic": "on",
            "cpu_pm": "on",
            "dedicated_hint": "on",
            "poll_control": "on",
            "pinning": "pinned",
            "hugepages": "2M",
            "page_sharing": "off",
            "memory_prealloc": "on",
            "free_page_reporting": "off",
            "net_backend": "vhost",
            "net_poll_us": "50",
            "io_poll_ns": "200000",
        },
        host={
            "pi_inject_timer": "on",
            "avic": "on",
            "apicv": "on",
            "halt_poll_ns": "400000",
            "halt_poll_ns_grow": "2",
            "halt_poll_ns_grow_start": "50000",
            "halt_poll_ns_shrink": "2",
            "thp": "madvise",
            "thp_defrag": "madvise",
            "ksm": "off",
            "numa_balancing": "off",
            "governor": "performance",
            "c_states": "shallow",
            "cpu_dma_latency": "10",
        },
        risk="an idle VM uses its CPUs wholly: for VMs whose vCPUs have CPUs of their own, on hosts that are not overcommitted",
    ),
    Profile(
        name="throughput",
        what="for much work at once: queues and threads beside each other, large pages, and waiting together instead of one by one",
        vm={
            **_PARAVIRTUAL,
            **_SHARED_CPUS,
            "tsc_deadline": "on",
            "x2apic": "on",
            "hugepages": "2M",
            "free_page_reporting": "off",
            "page_sharing": "off",
            "io_threads": "2",
            "disk_io": "native",
            "net_backend": "vhost",
            "net_queues": "vcpus",
            "net_rx_ring": "1024",
            "net_poll_us": "50",
        },
        host={
            "avic": "on",
            "apicv": "on",
            "halt_poll_ns": "200000",
            "halt_poll_ns_grow": "2",
            "halt_poll_ns_grow_start": "10000",
            "halt_poll_ns_shrink": "0",
            "thp": "always",
            "thp_defrag": "defer+madvise",
            "ksm": "off",
            "governor": "performance",
        },
        risk="huge pages are lost to everybody else, and threads of the host that poll take CPU time from vCPUs",
    ),
    Profile(
        name="dense",
        what="for many VMs that mostly idle: memory is shared and given back, and nobody polls",
        vm={
            **_PARAVIRTUAL,
            **_SHARED_CPUS,
            "page_sharing": "on",
            "free_page_reporting": "on",
            "memory_prealloc": "off",
            "io_poll_ns": "0",
        },
        host={
            "halt_poll_ns": "0",
            "ksm": "on",
            "thp": "madvise",
            "thp_defrag": "madvise",
            "governor": "schedutil",
            "c_states": "all",
        },
        risk="merged pages tell other guests by their timing what is in memory; waking an idle VM takes longer",
    ),
)

PROFILE_BY_NAME: Mapping[str, Profile] = {profile.name: profile for profile in PROFILES}


def profile_named(name: str) -> Profile:
    """:raise NotFound: `profile_not_found`."""
    found = PROFILE_BY_NAME.get(name)
    if found is None:
        raise NotFound("profile_not_found", f"there is no profile {name[:64]!r}: it is one of {', '.join(PROFILE_BY_NAME)}")
    return found


def check_profile(name: str) -> None:
    """:param name: empty: none. :raise Invalid: `profile_unknown`."""
    if name and name not in PROFILE_BY_NAME:
        raise Invalid("profile_unknown", f"there is no profile {name[:64]!r}: it is one of {', '.join(PROFILE_BY_NAME)}")
