"""Worlds: on both stores for what depends on the store, on SQLite for the rest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.api.world import World, opened_world, serving


@pytest.fixture
async def world(store_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """On SQLite and on PostgreSQL in turn."""
    async with opened_world(store_url, tmp_path) as one:
        yield one


@pytest.fixture(scope="session")
async def shared_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("world")
    async with opened_world(f"sqlite:///{folder}/houyi.db", folder) as one:
        yield one


@pytest.fixture
def small_world(shared_world: World) -> World:
    """On SQLite, shared by all tests that use it: each makes what it is about, and counts nothing that others make."""
    shared_world.far.reset()
    return shared_world


@pytest.fixture(scope="session")
async def shared_url(shared_world: World) -> AsyncIterator[str]:
    async with serving(shared_world) as address:
        yield address


@pytest.fixture
def url(small_world: World, shared_url: str) -> str:
    """Where the small world's API listens."""
    return shared_url
