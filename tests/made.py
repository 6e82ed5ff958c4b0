"""Values for tests: valid ones, of which a test says only what it is about."""

import uuid
from collections.abc import Mapping
from typing import Any

from houyi.model.host import Accelerator, AcceleratorProbe, HostFacts, HostLoad
from houyi.model.host_report import Has, HostTraits, KernelTraits, MemoryTraits, VirtTraits
from houyi.model.ids import HostId, ImageId, MigrationId, NetworkId, OperationId, ProjectId, VmId
from houyi.model.image import DiskFormat, Image, ImageSpec, ImageState, ImageStatus
from houyi.model.migration import Migration, MigrationCourse, MigrationKind, MigrationSpec, Terms
from houyi.model.network import Network, NetworkKind, NetworkSpec
from houyi.model.operation import Operation
from houyi.model.project import Project
from houyi.model.vm import DesiredNic, DesiredVm, ObservedVm, Power, VmSpec, VmState
from houyi.store.migration_docs import Asked
from houyi.store.mutation import Mutation
from houyi.store.rows.host import insert_host, put_host_facts
from houyi.store.rows.image import insert_image
from houyi.store.rows.migration import insert_migration
from houyi.store.rows.network import insert_network
from houyi.store.rows.project import insert_project
from houyi.store.store import Store

MINE = ProjectId("11111111-1111-4111-8111-111111111111")
OTHER = ProjectId("22222222-2222-4222-8222-222222222222")


def new_id() -> str:
    return str(uuid.uuid4())


def a_project(project_id: ProjectId = MINE, name: str = "mine", created_at: float = 1.0) -> Project:
    return Project(id=project_id, name=name, created_at=created_at, revision=0)


def an_image(name: str = "tiny", *, project_id: ProjectId = MINE, state: ImageState = ImageState.AVAILABLE, created_at: float = 1.0, **spec: Any) -> Image:
    status = ImageStatus(state=state, format=DiskFormat.QCOW2, size_bytes=1000, virtual_size_bytes=1 << 30, sha256="0" * 64, received_bytes=1000)
    return Image(id=ImageId(new_id()), project_id=project_id, name=name, spec=ImageSpec(**spec), status=status, created_at=created_at, revision=0)


def a_network(name: str = "net", *, project_id: ProjectId | None = None, cidr: str = "10.80.0.0/24", created_at: float = 1.0) -> Network:
    spec = NetworkSpec(kind=NetworkKind.NAT, cidr=cidr)
    return Network(id=NetworkId(new_id()), project_id=project_id, name=name, spec=spec, created_at=created_at, revision=0)


def a_vm(image: Image, name: str = "hello", *, project_id: ProjectId = MINE, nics: tuple[DesiredNic, ...] = (), **values: Any) -> DesiredVm:
    spec = VmSpec(
        image_id=image.id, vcpus=values.pop("vcpus", 1), memory_mib=values.pop("memory_mib", 128), disk_gib=values.pop("disk_gib", 1), **values.pop("spec", {})
    )
    return DesiredVm(
        id=VmId(new_id()),
        project_id=project_id,
        name=name,
        epoch=values.pop("epoch", 0),
        generation=values.pop("generation", 1),
        power=values.pop("power", Power.RUNNING),
        spec=spec,
        nics=nics,
        **values,
    )


def a_nic(network: Network, number: int, address: str = "") -> DesiredNic:
    return DesiredNic(network_id=network.id, mac=f"52:54:00:00:00:{number:02x}", address=address)


def an_observation(vm: DesiredVm, state: VmState = VmState.RUNNING, **values: Any) -> ObservedVm:
    return ObservedVm(id=vm.id, epoch=values.pop("epoch", vm.epoch), generation=values.pop("generation", vm.generation), state=state, **values)


def an_operation(project_id: ProjectId = MINE, **values: Any) -> Operation:
    return Operation(
        id=OperationId(new_id()),
        project_id=project_id,
        verb=values.pop("verb", "vm.start"),
        target_kind=values.pop("target_kind", "vm"),
        target_id=values.pop("target_id", new_id()),
        target_generation=values.pop("target_generation", 1),
        created_at=values.pop("created_at", 1.0),
        **values,
    )


def a_migration(vm: DesiredVm, source: HostId, destination: HostId, **values: Any) -> Migration:
    """One that has just been asked for."""
    return Migration(
        id=MigrationId(new_id()),
        project_id=vm.project_id,
        vm_id=vm.id,
        vm_name=vm.name,
        source_id=source,
        destination_id=destination,
        epoch=vm.epoch + 1,
        operation_id=OperationId(new_id()),
        spec=values.pop("spec", MigrationSpec(kind=MigrationKind.LIVE, terms=Terms())),
        course=values.pop("course", MigrationCourse()),
        forecast=None,
        source=None,
        destination=None,
        source_heard=True,
        destination_heard=True,
        created_at=values.pop("created_at", 9.0),
        revision=0,
        **values,
    )


def insert_move(one: Migration, vm: DesiredVm) -> Mutation:
    return insert_migration(one, Asked(vm=vm, source_id=one.source_id, destination_id=one.destination_id, operation_id=one.operation_id, spec=one.spec))


def facts(*, cpus: int = 4, memory_mib: int = 8192, disk_gib: int = 100, **values: Any) -> HostFacts:
    probe = AcceleratorProbe(accelerator=values.pop("accelerator", Accelerator.QEMU), verdict="absent", reason="there is no /dev/kvm")
    return HostFacts(
        hostname="h",
        boot_id="b",
        agent_version="0",
        qemu_version="10",
        libvirt_version="11",
        kernel="6",
        cpu_model="c",
        cpus=cpus,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
        numa_nodes=1,
        accelerator=probe,
        **values,
    )


def load(**values: Any) -> HostLoad:
    return HostLoad(
        vms_running=values.pop("vms_running", 0),
        memory_free_mib=values.pop("memory_free_mib", 1),
        disk_free_gib=1,
        load1=0.0,
        libvirt_connected=True,
        **values,
    )


async def put_projects(store: Store) -> None:
    await store.apply([insert_project(a_project()), insert_project(a_project(OTHER, "other", 2.0))])


def some_traits(**memory: Any) -> HostTraits:
    """Of a host whose transparent huge pages are off. :param memory: what of its memory is otherwise."""
    probe = AcceleratorProbe(accelerator=Accelerator.KVM, verdict="native", reason="it ran", exit_ns={"cpuid": 900})
    return HostTraits(
        accelerator=probe,
        virt=VirtTraits(vendor="amd", module="kvm_amd", hardware=Has.ON, nested_paging=Has.ON),
        memory=MemoryTraits(**{"total_mib": 8192, "thp": "never", **memory}),
        kernel=KernelTraits(release="6.12.0"),
        unknown={"power.cpus": "/sys/devices/system/cpu/online: Permission denied"},
    )


async def put_host(store: Store, name: str = "h1", *, capacity: Mapping[str, int] | None = None, at: float = 1.0) -> HostId:
    """A host that is ready."""
    host_id = HostId(new_id())
    room = {"vcpu": 4, "memory_mib": 8192, "disk_gib": 100} if capacity is None else capacity
    await store.apply([insert_host(host_id, name, at), put_host_facts(host_id, "i1", facts(), room, at)])
    return host_id


async def put_image(store: Store, image: Image | None = None) -> Image:
    image = an_image() if image is None else image
    await store.apply([insert_image(image)])
    return image


async def put_network(store: Store, network: Network | None = None) -> Network:
    network = a_network() if network is None else network
    await store.apply([insert_network(network)])
    return network
