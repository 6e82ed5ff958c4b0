"""What placement makes of each host for one VM, as JSON."""

from pydantic import Field

from houyi.wire.v1.shape import Id, Shown


class HostLook(Shown):
    """What became of one host."""

    host_id: Id
    host_name: str
    removed_by: str = Field(description="Name of the filter that took it out; empty if none did.")
    why: str = Field(description="Why it did.")
    scores: dict[str, float] = Field(description="Weighted score by name; empty if it was taken out.")
    total: float
    chosen: bool


class Placement(Shown):
    """Where a VM would be placed now, and why; of one that has a host, as if it had none."""

    vm_id: Id
    vm_name: str
    at_host_id: Id | None = Field(description="Where it is.")
    at_host_name: str | None
    host_id: Id | None = Field(description="Where it would go now; null: nowhere.")
    host_name: str | None
    why_not: str = Field(description="Why no host can take it; empty if one can.")
    asked: dict[str, int] = Field(description="Resource class to amount.")
    left: dict[str, int] = Field(description="The most that any one ready host has left of each resource.")
    removed: dict[str, int] = Field(description="How many hosts each filter took out.")
    hosts: list[HostLook] | None = Field(description="Every host, the best first; null to members.")
