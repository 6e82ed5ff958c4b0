"""Fixtures for every test."""

import pytest

pytest_plugins = ["stores"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
