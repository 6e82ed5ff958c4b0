"""Where new ids and secrets come from: injected, so that the simulator can replay a seed."""

import hashlib
import random
import secrets
import uuid
from typing import Protocol


class Ids(Protocol):
    def new(self) -> str:
        """A fresh lower-case UUID."""
        ...

    def secret(self) -> str:
        """256 random bits, URL-safe text."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A random number, for jitter only."""
        ...


class RandomIds:
    """The real one: the kernel's randomness."""

    def new(self) -> str:
        return str(uuid.uuid4())

    def secret(self) -> str:
        return secrets.token_urlsafe(32)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311 - jitter guards nothing


class SeededIds:
    """Repeatable, for tests and the simulator; never for secrets that guard anything."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def new(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def secret(self) -> str:
        return f"{self._random.getrandbits(256):064x}"

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def digest(secret: str) -> str:
    """The SHA-256 of a secret in hex: what is stored instead of it."""
    return hashlib.sha256(secret.encode()).hexdigest()
