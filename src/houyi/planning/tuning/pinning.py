"""Which CPUs the vCPUs of a VM are kept on."""

from collections.abc import Iterable, Mapping


def choose_cpus(cpus: Iterable[int], taken: Mapping[int, int], vcpus: int) -> tuple[int, ...]:
    """One CPU for each vCPU, in their order: those on which the fewest other vCPUs are kept, by number among equals.

    :param cpus: that the VM may use; none: it cannot be pinned. :param taken: CPU -> how many vCPUs of other VMs are kept on it.
    A VM with more vCPUs than there are CPUs goes round once more.
    """
    order = sorted(set(cpus), key=lambda cpu: (taken.get(cpu, 0), cpu))
    return tuple(order[number % len(order)] for number in range(vcpus)) if order else ()
