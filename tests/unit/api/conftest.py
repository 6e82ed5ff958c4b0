"""Worlds: on both stores for what depends on the store, on SQLite for the rest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stores import NewUrl
from unit.api.world import World, opened_world, serving


@pytest.fixture
async def world(store_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """On SQLite and on PostgreSQL in turn."""
    async with opened_world(store_url, tmp_path) as one:
        yield one


@pytest.fixture
async def small_world(new_url: NewUrl, tmp_path: Path) -> AsyncIterator[World]:
    """On SQLite only."""
    async with opened_world(new_url("sqlite"), tmp_path) as one:
        yield one


@pytest.fixture
async def url(small_world: World) -> AsyncIterator[str]:
    """Where the small world's API listens."""
    async with serving(small_world) as address:
        yield address
