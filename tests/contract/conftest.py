"""`host`: the simulated machine always, the real one under the marker `real`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from contract.hosts import Host, LibvirtHost, SimulatedHost
from real.hosts import PrivateHost, private_host


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
