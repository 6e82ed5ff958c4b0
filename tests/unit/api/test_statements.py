"""How often a request goes to the database: upper bounds, so that it cannot grow unseen. `docs/BENCHMARKS.md` has the table."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, event

from unit.api.world import PUBLIC_KEY, World

SPARE = 1
"""On PostgreSQL the store looks once a second for other servers' writes, perhaps just now."""


@dataclass
class Counted:
    """Statements and transactions of every engine of this process."""

    statements: list[str] = field(default_factory=list)
    savepoints: int = 0
    commits: int = 0

    def statement(self, _connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        if not text.startswith("BEGIN"):
            self.statements.append(text)

    def savepoint(self, *_: Any) -> None:
        self.savepoints += 1

    def commit(self, *_: Any) -> None:
        self.commits += 1

    def reset(self) -> None:
        self.statements, self.savepoints, self.commits = [], 0, 0


@pytest.fixture
def counted() -> Iterator[Counted]:
    one = Counted()
    listeners = (("before_cursor_execute", one.statement), ("savepoint", one.savepoint), ("commit", one.commit))
    for name, listener in listeners:
        event.listen(Engine, name, listener)
    yield one
    for name, listener in listeners:
        event.remove(Engine, name, listener)


async def test_statements_of_a_request(world: World, counted: Counted) -> None:
    """Of one caller: statements and transactions; no savepoints, since nothing is refused."""
    vm, image = await world.new_vm(), await world.new_image("disk")
    wish = {"name": "new", "image": image.name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "nics": [], "start": False}
    bounds: tuple[tuple[str, str, Any, int, int], ...] = (
        ("GET", f"/v1/vms/{vm.id}", None, 2, 1),
        ("GET", "/v1/vms", None, 3, 1),
        ("PATCH", f"/v1/vms/{vm.id}", {"labels": {"a": "b"}}, 8, 3),
        ("POST", f"/v1/vms/{vm.id}/pause", {}, 8, 2),
        ("POST", "/v1/ssh-keys", {"name": "k", "public_key": PUBLIC_KEY}, 5, 1),
        ("POST", "/v1/vms", wish, 12, 4),
    )
    async with world.client("member") as client:
        await client.get("/v1/vms")  # from now on the token is known
        for method, path, body, statements, transactions in bounds:
            counted.reset()
            answer = await client.request(method, path, json=body)
            assert answer.status_code < 300, answer.text
            assert len(counted.statements) <= statements + SPARE, (method, path, counted)
            assert counted.commits <= transactions + SPARE, (method, path, counted)
            assert counted.savepoints == 0


async def test_requests_at_once_share_statements(world: World, counted: Counted) -> None:
    """32 changes of 32 VMs: each reads twice, and the writes are folded."""
    vms = [await world.new_vm() for _ in range(32)]
    async with world.client("member") as client:
        await client.get("/v1/vms")
        counted.reset()
        answers = await asyncio.gather(*(client.patch(f"/v1/vms/{vm.id}", json={"labels": {"a": "b"}}) for vm in vms))
    assert {answer.status_code for answer in answers} == {200}
    assert counted.savepoints == 0
    assert len(counted.statements) < 4 * len(vms)
    assert counted.commits < 1.5 * len(vms)
