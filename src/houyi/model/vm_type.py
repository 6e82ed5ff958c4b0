"""A VM type: a named size."""

from dataclasses import dataclass

from houyi.model.ids import VmTypeId


@dataclass(frozen=True, slots=True, kw_only=True)
class VmType:
    """A named size. Changing one does not change VMs that were made from it."""

    id: VmTypeId
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    profile: str = ""
    """The tuning profile of VMs that are made from it and name none."""
    created_at: float
    revision: int


BUILT_IN_VM_TYPES: tuple[tuple[str, int, int, int], ...] = (
    ("t1.nano", 1, 128, 1),
    ("t1.micro", 1, 256, 2),
    ("c1.small", 1, 512, 4),
    ("c1.medium", 2, 1024, 8),
    ("c1.large", 4, 2048, 16),
    ("g1.small", 1, 2048, 10),
    ("g1.medium", 2, 4096, 20),
    ("g1.large", 4, 8192, 40),
    ("m1.medium", 2, 8192, 20),
    ("m1.large", 4, 16384, 40),
)
"""(name, vCPUs, MiB of memory, GiB of disk): t tiny, c compute, g general, m memory. Made at the first start; editable afterwards."""
