"""A private host for the tests of this folder, and an agent's ports on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.hosts import LibvirtHost
from contract.pairs import RealMachines, real_machines
from real.hosts import PrivateHost, join, private_host
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
def second_host(libvirt_host: PrivateHost) -> Iterator[tuple[PrivateHost, tuple[str, str]]]:
    """Joined to the first by a wire; and the addresses of both."""
    with private_host() as host:
        yield host, join(libvirt_host, host)


@pytest.fixture
async def machines(libvirt_host: PrivateHost, second_host: tuple[PrivateHost, tuple[str, str]]) -> AsyncIterator[RealMachines]:
    made = await real_machines(libvirt_host, *second_host)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def tiny_image() -> Path:
    return tiny_path()
