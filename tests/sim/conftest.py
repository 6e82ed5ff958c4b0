"""The whole platform in one process: a server and agents on simulated machines, joined by the real link (mutual TLS on loopback)."""

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

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


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: a simulated hour should not wait for a real disk."""
    folder = Path(tempfile.mkdtemp(prefix="houyi-sim-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def quiet() -> Iterator[None]:
    """What is logged is of use for one seed at a time only; the story of a seed is in its failure."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
