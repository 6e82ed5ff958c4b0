"""A project: every tenant-visible row belongs to one."""

from dataclasses import dataclass

from houyi.model.ids import ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    id: ProjectId
    name: str
    created_at: float
    revision: int
