"""What is made at the first start, and found there at every later one: a project, an administrator, VM types, a network."""

from collections.abc import Callable

from houyi.control.addresses import parse_network
from houyi.control.commands.project import BUILT_IN
from houyi.control.commands.token import new_token
from houyi.control.control import Control
from houyi.model.errors import Conflict, NotFound
from houyi.model.ids import NetworkId, ProjectId, VmTypeId
from houyi.model.network import Network, NetworkKind, NetworkSpec
from houyi.model.project import Project
from houyi.model.token import Role
from houyi.model.vm_type import BUILT_IN_VM_TYPES, VmType
from houyi.store.mutation import Mutation
from houyi.store.rows.network import insert_network
from houyi.store.rows.project import insert_project
from houyi.store.rows.vm_type import put_vm_type
from houyi.store.views.project import get_project


def _kept_by_nobody(_text: str | None) -> None:
    pass


async def first_start(control: Control, nat_cidr: str, keep: Callable[[str | None], None] = _kept_by_nobody) -> str | None:
    """Fill an empty store. Returns the administrator's token at the first start, None later; of servers that start at once one gets it.

    :param keep: writes the token down: called before it counts, since a server that dies in between would leave a platform that lets nobody in;
        and with None when it never will count.
    :raise Invalid: `cidr_invalid`.
    """
    parse_network(nat_cidr)
    try:
        await control.store.read(lambda c: get_project(c, BUILT_IN))
    except NotFound:
        pass
    else:
        return None
    now = control.clock.now()
    project = Project(id=ProjectId(control.ids.new()), name=BUILT_IN, created_at=now, revision=0)
    _token, text, token_mutation = new_token(control, project.id, "admin", Role.ADMIN, 0.0)
    mutations: list[Mutation] = [insert_project(project), token_mutation]
    for age, (name, vcpus, memory_mib, disk_gib) in enumerate(BUILT_IN_VM_TYPES):
        vm_type = VmType(
            id=VmTypeId(control.ids.new()), name=name, vcpus=vcpus, memory_mib=memory_mib, disk_gib=disk_gib, created_at=now + age * 1e-3, revision=0
        )
        mutations.append(put_vm_type(vm_type))
    spec = NetworkSpec(kind=NetworkKind.NAT, cidr=nat_cidr)
    mutations.append(insert_network(Network(id=NetworkId(control.ids.new()), project_id=None, name="default", spec=spec, created_at=now, revision=0)))
    keep(text)
    try:
        await control.store.apply(mutations)
    except Conflict:
        keep(None)
        return None
    return text


async def renew_admin_token(control: Control, name: str) -> str:
    """One more administrator's token in the project `default`: for who has lost the first one but is root on the server's machine."""
    project = await control.store.read(lambda c: get_project(c, BUILT_IN))
    _token, text, mutation = new_token(control, project.id, name, Role.ADMIN, 0.0)
    await control.store.apply([mutation])
    return text
