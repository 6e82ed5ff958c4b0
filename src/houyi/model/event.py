"""Events: every change of a VM (and of hosts and images), in order, never altered: what the audit and `houyi event list` show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from houyi.model.ids import EventId, ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    id: EventId
    project_id: ProjectId | None
    kind: str
    """'vm.created', 'vm.state', 'vm.guest_panic', 'host.joined' ..."""
    target_kind: str
    target_id: str
    target_name: str
    detail: str
    data: Mapping[str, str] = field(default_factory=dict)
    actor: str = ""
    """'token:<id>' for people, 'host:<id>' for what a host observed, 'platform' for reconcilers."""
    request_id: str = ""
    at: float
    revision: int = 0
