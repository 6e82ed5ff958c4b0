"""Facts and specs that tests of tuning share."""

from dataclasses import replace

from houyi.model.host import Accelerator, AcceleratorProbe, HostFacts, NumaNode
from houyi.model.ids import ImageId
from houyi.model.vm import VmSpec

TCG_FACTS = HostFacts(
    hostname="h1",
    boot_id="b",
    agent_version="1",
    qemu_version="10.0.2",
    libvirt_version="11.3.0",
    kernel="6.12.0",
    cpu_model="Simulated CPU",
    cpus=4,
    memory_mib=8192,
    disk_gib=100,
    numa_nodes=1,
    accelerator=AcceleratorProbe(accelerator=Accelerator.QEMU, verdict="absent", reason="simulated"),
    cpu_features=("sse4.2",),
)
KVM_FACTS = replace(
    TCG_FACTS,
    accelerator=AcceleratorProbe(accelerator=Accelerator.KVM, verdict="native", reason="simulated"),
    hugepages={"2048": 512, "1048576": 1},
    numa=(NumaNode(number=0, cpus=(0, 1, 2, 3), memory_mib=8192),),
    cpu_features=("tsc-deadline", "x2apic"),
)
"""A host that has everything that a knob may need."""


def spec_with(*, profile: str = "", **knobs: str) -> VmSpec:
    return VmSpec(image_id=ImageId("i"), vcpus=2, memory_mib=512, disk_gib=4, profile=profile, knobs=knobs)
