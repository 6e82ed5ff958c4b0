"""A private host for the tests of this folder, and an agent's ports on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.hosts import LibvirtHost
from real.hosts import PrivateHost, private_host
from real.tiny import tiny_path


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[PrivateHost]:
    with private_host() as host:
        yield host


@pytest.fixture
async def real(libvirt_host: PrivateHost) -> AsyncIterator[LibvirtHost]:
    host = LibvirtHost(libvirt_host)
    await host.open()
    yield host
    await host.close()


@pytest.fixture(scope="session")
def tiny_image() -> Path:
    return tiny_path()
