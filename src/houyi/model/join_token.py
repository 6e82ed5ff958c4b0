"""A join token lets exactly one host join the platform and get its certificate."""

from dataclasses import dataclass

from houyi.model.ids import JoinTokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """Lets exactly one host join, before it expires."""

    id: JoinTokenId
    secret_sha256: str
    expires_at: float
    used_by: str
    """The host that used it; empty: still usable."""
    created_at: float
    revision: int
