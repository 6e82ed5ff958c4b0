"""A user's token: who may act, in which project. Its secret is never stored, only the SHA-256.

The secret is 256 random bits, so a plain hash suffices: there is no dictionary to try (argon2 is for passwords).
"""

from dataclasses import dataclass
from enum import StrEnum

from houyi.model.ids import ProjectId, TokenId


class Role(StrEnum):
    ADMIN = "admin"
    """Everything in every project, and the platform itself (hosts, vm types, projects, public images)."""
    MEMBER = "member"
    """Everything within one project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    id: TokenId
    project_id: ProjectId
    name: str
    role: Role
    secret_sha256: str
    expires_at: float
    """Unix seconds; 0: never."""
    created_at: float
    revision: int
