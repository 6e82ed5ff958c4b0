"""Facts, specs and domains that tests of tuning share."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from houyi.host.domxml.context import DomainContext, VmPaths
from houyi.model.host import Accelerator, AcceleratorProbe, HostFacts, NumaNode
from houyi.model.ids import ImageId, NetworkId, ProjectId, VmId
from houyi.model.image import DiskFormat
from houyi.model.vm import DesiredNic, DesiredVm, Power, VmSpec

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


_FOLDER = Path("/var/lib/houyi/vms/11111111-2222-4333-8444-555555555555")
_PATHS = VmPaths(
    disk=_FOLDER / "disk.qcow2",
    base=_FOLDER / "base.qcow2",
    base_format=DiskFormat.QCOW2,
    seed=_FOLDER / "seed.iso",
    nvram=_FOLDER / "nvram.fd",
    console_log=_FOLDER / "console.log",
    serial_socket=Path("/run/houyi/sockets/1.serial"),
    vnc_socket=Path("/run/houyi/sockets/1.vnc"),
)


def context(settings: Mapping[str, str], *, vcpus: int = 2) -> DomainContext:
    """A VM with these settings on a host that has everything: KVM, and a node of four CPUs that the VM was fitted to."""
    nics = tuple(
        DesiredNic(network_id=NetworkId(f"{letter * 8}-0000-4000-8000-000000000001"), mac=f"52:54:00:{letter * 2}:00:01", address="") for letter in "ab"
    )
    vm = DesiredVm(
        id=VmId(_FOLDER.name),
        project_id=ProjectId("p"),
        name="tuned",
        epoch=1,
        generation=1,
        spec=replace(spec_with(), vcpus=vcpus, video=False),
        power=Power.RUNNING,
        nics=nics,
        numa_nodes=(1,),
        tuning=dict(settings),
    )
    node = NumaNode(number=1, cpus=(2, 3, 6, 7), memory_mib=4096)
    return DomainContext(vm=vm, accelerator=Accelerator.KVM, tcg_tb_size_mib=64, paths=_PATHS, numa=(node,), cpus=node.cpus[:vcpus])
