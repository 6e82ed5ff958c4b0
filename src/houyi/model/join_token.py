"""A join token lets exactly one host join the platform and get its certificate."""

import hashlib
from dataclasses import dataclass

from houyi.model.errors import Invalid
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


@dataclass(frozen=True, slots=True)
class JoinTokenText:
    """What is handed to the host, 'hyj_<id>_<CA fingerprint>_<secret>': the secret for the server, and how to know that server first."""

    id: JoinTokenId
    ca_fingerprint: str
    secret: str

    def __str__(self) -> str:
        return f"hyj_{self.id}_{self.ca_fingerprint}_{self.secret}"

    def __repr__(self) -> str:
        return f"JoinTokenText({self.id})"  # never the secret

    @classmethod
    def parse(cls, text: str) -> "JoinTokenText":
        """:raise Invalid: `join_token_malformed`."""
        parts = text.strip().split("_", 3)
        if len(parts) != 4 or parts[0] != "hyj" or len(parts[2]) != _FINGERPRINT_DIGITS or not parts[3]:
            raise Invalid("join_token_malformed", "that is not a join token: make one with `houyi host join-token`")
        return cls(JoinTokenId(parts[1]), parts[2], parts[3])


_FINGERPRINT_DIGITS = 32
"""128 bits: no second certificate can be found for it, and the token still fits a line."""


def ca_fingerprint(certificate_der: bytes) -> str:
    """By which a joining host knows the right CA: the first hex digits of the SHA-256 of its certificate."""
    return hashlib.sha256(certificate_der).hexdigest()[:_FINGERPRINT_DIGITS]
