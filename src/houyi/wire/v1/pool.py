"""Pools as JSON."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from houyi.model.ids import HostId
from houyi.model.pool import Pool as ModelPool
from houyi.wire.v1.shape import Asked, Id, Page, Revision, Shown, Text, Time, rfc3339


class PoolCreate(Asked):
    """A pool without hosts: each is put into it by itself."""

    name: Text = Field(description="RFC 1123 label, unique.")


class PoolHost(Shown):
    id: Id
    name: str


class PoolVmApart(Shown):
    """A VM that runs with another CPU than the pool's VMs get now."""

    vm_id: Id
    vm_name: str
    host_id: Id
    more: list[str] = Field(description="Features that it has beyond the baseline: it can move only to where they are.")
    less: list[str] = Field(description="Features of the baseline that it gets at its next start.")


class Pool(Shown):
    id: Id
    name: str
    cpu_model: str | None = Field(description="The CPU of its VMs, a model of libvirt's; null: not known yet, they get their host's.")
    cpu_features: list[str] = Field(description="Every CPU feature of its VMs, those of the model among them.")
    cpu_required: list[str] = Field(description="What is added to the model.")
    cpu_disabled: list[str] = Field(description="What is taken from the model.")
    trouble: str = Field(
        description="Why what its hosts have in common now is not known; empty: it is, or it has no host. What was settled before stays in force."
    )
    hosts: list[PoolHost] | None = Field(description="null to members.")
    apart: list[PoolVmApart] | None = Field(None, description="VMs on its hosts that run with another CPU; null in lists and to members.")
    created_at: Time
    revision: Revision


class PoolPage(Page[Pool]):
    """A page of pools."""


def show_pool(pool: ModelPool, *, hosts: bool, apart: Sequence[PoolVmApart] | None = None) -> Pool:
    """:param hosts: whether to say who is in it."""
    baseline = pool.status.baseline
    return Pool(
        id=pool.id,
        name=pool.name,
        cpu_model=None if baseline is None else baseline.cpu.model,
        cpu_features=[] if baseline is None else list(baseline.features),
        cpu_required=[] if baseline is None else list(baseline.cpu.required),
        cpu_disabled=[] if baseline is None else list(baseline.cpu.disabled),
        trouble=pool.status.trouble if hosts else "",
        hosts=_hosts(pool.hosts) if hosts else None,
        apart=None if apart is None else list(apart),
        created_at=rfc3339(pool.created_at),
        revision=pool.revision,
    )


def _hosts(hosts: Mapping[HostId, str]) -> list[PoolHost]:
    return [PoolHost(id=host_id, name=name) for host_id, name in hosts.items()]
