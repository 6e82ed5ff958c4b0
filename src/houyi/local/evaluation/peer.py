"""The machine's end of the network: a server program of the tree, while a benchmark runs."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from houyi.local.evaluation.here import MachineVenue
from houyi.local.evaluation.place import Said
from houyi.model.errors import Failed, HouyiError
from houyi.planning.evaluation.benchmarks import Benchmark

_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LISTENS = "0A"


def free_port(address: str) -> int:
    """A TCP port that nobody has. :raise Failed: `bench_no_network`: the address is not this machine's."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise Failed(
                "bench_no_network", f"{address} is no address of this machine ({error.strerror}): run on the VM's host, or leave the network out"
            ) from None
        return int(probe.getsockname()[1])


@asynccontextmanager
async def served(machine: MachineVenue, benchmark: Benchmark, peer: str, port: int, seconds: float) -> AsyncIterator[None]:
    """The benchmark's server listens on the machine's address `peer` until this ends. :raise Failed: `bench_server_silent`."""
    argv = [word.format(peer=peer, port=port) for word in benchmark.server]
    server = asyncio.create_task(machine.run(argv, seconds + _SECONDS))
    try:
        end = asyncio.get_running_loop().time() + _SECONDS
        while not listens(port):
            if server.done() or asyncio.get_running_loop().time() > end:
                raise Failed("bench_server_silent", f"{argv[0]} does not listen on {peer}:{port} on this machine: {_words(server)}")
            await asyncio.sleep(_LOOK_SECONDS)
        yield
    finally:
        server.cancel()
        with suppress(asyncio.CancelledError, HouyiError):
            await server


def listens(port: int) -> bool:
    """Whether somebody listens on that TCP port in our network namespace: connecting would be taken for a client."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                return True
    return False


def _words(server: "asyncio.Task[Said]") -> str:
    if not server.done():
        return "it has had time enough"
    return str(server.exception() or server.result().complaint)
