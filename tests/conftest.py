"""Fixtures for every test."""

import pytest
from hypothesis import settings

settings.register_profile("houyi", deadline=None)  # no test fails because the machine is slow
settings.load_profile("houyi")

pytest_plugins = ["stores"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
