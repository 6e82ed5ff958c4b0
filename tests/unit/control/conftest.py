"""A desk for every test of control."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from desk import Desk, make_desk
from houyi.store.store import Store
from stores import NewUrl


@pytest.fixture
async def desk(new_url: NewUrl, tmp_path: Path) -> AsyncIterator[Desk]:
    """On SQLite: what differs between the engines is below control."""
    store = await Store.open(new_url("sqlite"))
    yield await make_desk(store, tmp_path)
    await store.close()


@pytest.fixture
async def both(store: Store, tmp_path: Path) -> Desk:
    """On both engines, for races."""
    return await make_desk(store, tmp_path)
