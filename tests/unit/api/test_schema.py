"""The running API against its own document: whatever is sent, right or wrong, nothing crashes and every answer is as documented.

Bounded and repeatable: a fixed seed, few examples an operation. Refusals of what is well-formed but cannot be (a name that is taken, an unknown
image) are in the other tests; here `positive_data_acceptance` is left out, since a schema cannot say such things.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from houyi.api.app import bare_app, end_streams
from houyi.model.vm import VmState
from unit.api.world import World, opened_world, serving

load_all_checks()

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
    checks.unsupported_method,
]
NOUNS = (
    "vm",
    "image",
    "network",
    "vm_type",
    "ssh_key",
    "placement_group",
    "pool",
    "project",
    "token",
    "join_token",
    "host",
    "operation",
    "event",
    "migration",
    "knob",
    "profile",
)


class Running:
    """A server in a thread of its own, with one of every noun."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.token = ""
        self.known: dict[str, str] = {}
        self._folder = folder
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with opened_world(f"sqlite:///{self._folder}/houyi.db", self._folder, max_body_bytes=4 << 20) as world:
            end_streams(world.app)  # watches and waits end at once
            world.far.says = [b"login: ", b""]
            self.known = {noun: await self._new(world, noun) for noun in NOUNS}
            self.token = world.tokens["admin"]
            async with serving(world) as self.url:
                self._ready.set()
                await self._stop.wait()

    async def _new(self, world: World, noun: str) -> str:
        return (await world.new_vm(state=VmState.RUNNING)).id if noun == "vm" else await world.new(noun)

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("running")) as server:
        yield server


schema = schemathesis.openapi.from_dict(bare_app().openapi())
schema.config.seed = 20261123


@schema.parametrize()
@settings(max_examples=5, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_the_api_is_as_documented(running: Running, case: schemathesis.Case) -> None:
    for name, value in list(case.path_parameters.items()):
        noun = "project" if name == "name" else name
        if len(str(value)) % 2 and noun in running.known:  # half of them meet something that is there
            case.path_parameters[name] = running.known[noun]
    case.call_and_validate(base_url=running.url, headers={"Authorization": f"Bearer {running.token}"}, checks=CHECKS)
