"""A public SSH key that is put into guests."""

from dataclasses import dataclass

from houyi.model.ids import ProjectId, SshKeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    id: SshKeyId
    project_id: ProjectId
    name: str
    public_key: str
    fingerprint: str
    created_at: float
    revision: int
