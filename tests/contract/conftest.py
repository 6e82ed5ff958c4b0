"""`host`: the simulated machine always, the real one under the marker `real`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from contract.hosts import Host, LibvirtHost, SimulatedHost
from contract.pairs import Machines, real_machines, simulated_machines
from real.hosts import PrivateHost, join, private_host


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[PrivateHost]:
    with private_host() as host:
        yield host


@pytest.fixture(params=["sim", pytest.param("real", marks=pytest.mark.real)])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    if request.param == "sim":
        simulated = SimulatedHost()
        yield simulated
        await simulated.ports.close()
        return
    real = LibvirtHost(request.getfixturevalue("libvirt_host"))
    await real.open()
    yield real
    await real.close()


@pytest.fixture(scope="session")
def second_host(libvirt_host: PrivateHost) -> Iterator[tuple[PrivateHost, tuple[str, str]]]:
    """Joined to the first; and the addresses of both."""
    with private_host() as host:
        yield host, join(libvirt_host, host)


@pytest.fixture(params=["sim", pytest.param("real", marks=pytest.mark.real)])
async def machines(request: pytest.FixtureRequest) -> AsyncIterator[Machines]:
    if request.param == "sim":
        simulated = simulated_machines()
        yield simulated
        await simulated.close()
        return
    other, addresses = request.getfixturevalue("second_host")
    made = await real_machines(request.getfixturevalue("libvirt_host"), other, addresses)
    yield made
    await made.close()
