"""Public SSH keys as people give them."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from houyi.model.errors import Invalid

_BYTES_MAX = 16 << 10


@dataclass(frozen=True, slots=True)
class PublicKey:
    text: str
    """'type base64 [comment]', one line."""
    fingerprint: str
    """'SHA256:...' as ssh-keygen -l prints it."""


def parse_public_key(text: str) -> PublicKey:
    """:raise Invalid: `ssh_key_invalid`: not one line 'ssh-ed25519 AAAA... [comment]'; in particular a private key."""
    line = text.strip()
    if "PRIVATE KEY" in line:
        raise Invalid("ssh_key_invalid", "that is a private key: give the public one (the file that ends in .pub), and consider the private one exposed")
    parts = line.split(None, 2)
    if len(line) > _BYTES_MAX or "\n" in line or "\r" in line or len(parts) < 2 or not line.isprintable():
        raise Invalid("ssh_key_invalid", "a public SSH key is one line: 'ssh-ed25519 AAAA... [comment]'")
    try:
        load_ssh_public_key(" ".join(parts[:2]).encode())
        blob = base64.b64decode(parts[1], validate=True)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("ssh_key_invalid", f"not a public SSH key: {error}") from None
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return PublicKey(" ".join(parts), f"SHA256:{fingerprint}")
