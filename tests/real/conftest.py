"""A private host for the tests of this folder, and an agent's ports on it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from contract.hosts import LibvirtHost
from real.hosts import PrivateHost, private_host


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
