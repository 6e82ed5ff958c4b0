"""The whole platform in one process: a server and agents on simulated machines, joined by the real link (mutual TLS on loopback)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sim.whole import Platform
from stores import NewUrl


@pytest.fixture
async def both(store_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """On both stores in turn."""
    async with Platform(tmp_path, store_url) as made:
        yield made


@pytest.fixture
def sqlite_url(new_url: NewUrl) -> str:
    return new_url("sqlite")


@pytest.fixture
async def platform(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    async with Platform(tmp_path, sqlite_url) as made:
        yield made


@pytest.fixture
def other_url(new_url: NewUrl) -> str:
    return new_url("sqlite")
