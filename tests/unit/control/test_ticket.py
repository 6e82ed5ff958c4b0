"""Tickets: short-lived, used once by whoever is first, of which the store knows only a digest."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from houyi.base.config import Settings
from houyi.base.ids import RandomIds, digest
from houyi.control.commands.ticket import LIFETIME_SECONDS, new_ticket, take_ticket
from houyi.control.control import Context, Control
from houyi.model.errors import Conflict, Unauthenticated, Unavailable
from houyi.model.ids import VmId
from houyi.model.token import Role
from houyi.store import tables
from houyi.store.rows.ticket import insert_ticket
from houyi.store.rows.vm import insert_vm, remove_vm
from houyi.store.store import Store
from houyi.store.views.ticket import find_ticket
from made import MINE, a_vm, put_image, put_projects

A, B = (Context(actor=f"token:{who}", project_id=MINE, role=Role.MEMBER) for who in "ab")


class Hand:
    """A clock moved by hand."""

    at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Tickets:
    """Askers of one VM's tickets, each with a secret of its own."""

    def __init__(self, control: Control, vm_id: VmId) -> None:
        self.control, self.vm_id = control, vm_id

    async def give(self, ctx: Context = A, key: str | None = None, request: str = "r") -> str:
        return (await new_ticket(self.control, ctx, self.vm_id, "console", f"secret of {ctx.actor}", key, request))[0]

    async def take(self, text: str) -> VmId:
        return (await take_ticket(self.control, text, "console")).vm_id

    async def refused(self, text: str) -> None:
        with pytest.raises(Unauthenticated) as caught:
            await self.take(text)
        assert caught.value.code == "ticket_invalid"


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
async def tickets(store: Store, clock: Hand) -> Tickets:
    await put_projects(store)
    vm = a_vm(await put_image(store))
    await store.apply([insert_vm(vm, False, 1.0)])
    return Tickets(Control(store, clock, RandomIds(), Settings()), vm.id)


async def test_it_opens_once_whoever_comes_first(tickets: Tickets) -> None:
    text = await tickets.give()
    outcomes = await asyncio.gather(*(tickets.take(text) for _ in range(8)), return_exceptions=True)
    assert [one for one in outcomes if not isinstance(one, BaseException)] == [tickets.vm_id]
    assert {type(one) for one in outcomes if isinstance(one, BaseException)} == {Unauthenticated}


async def test_it_ends(tickets: Tickets, clock: Hand) -> None:
    text, late = await tickets.give(), await tickets.give()
    clock.at += LIFETIME_SECONDS - 0.001
    assert await tickets.take(text) == tickets.vm_id
    clock.at += 0.001
    await tickets.refused(late)
    await tickets.give()
    assert await tickets.control.store.read(lambda c: find_ticket(c, digest(late))) is None, "what has expired does not stay"


async def test_it_opens_what_it_is_for(tickets: Tickets) -> None:
    text = await tickets.give()
    with pytest.raises(Unauthenticated):
        await take_ticket(tickets.control, text, "vnc")
    await tickets.refused(text)  # a wrong try uses it up
    await tickets.refused("guess")


async def test_the_same_request_gets_the_same_ticket(tickets: Tickets, clock: Hand) -> None:
    texts = await asyncio.gather(*(tickets.give(key="k") for _ in range(4)))
    assert len(set(texts)) == 1
    assert await tickets.give(B, key="k") != texts[0], "keys belong to their callers"
    with pytest.raises(Conflict) as caught:
        await tickets.give(key="k", request="another")
    assert caught.value.code == "idempotency_mismatch"
    assert await tickets.take(texts[0]) == tickets.vm_id
    assert await tickets.give(key="k") == texts[0], "also when it is used up: it is the answer to that request"
    await tickets.refused(texts[0])
    clock.at += LIFETIME_SECONDS
    assert await tickets.give(key="k") != texts[0]


async def test_the_store_cannot_say_it(tickets: Tickets) -> None:
    text = await tickets.give(key="k")
    rows = await tickets.control.store.read(lambda c: [tuple(row) for row in c.execute(select(tables.ticket))])
    assert len(rows) == 1
    assert text not in str(rows)


async def test_there_is_a_limit(tickets: Tickets, clock: Hand) -> None:
    await tickets.give(key="k")
    one = await tickets.control.store.read(lambda c: find_ticket(c, c.execute(select(tables.ticket.c.text_sha256)).scalar_one()))
    assert one is not None
    another = insert_ticket(replace(one, text_sha256="0", key=None), clock.now(), most=1)
    with pytest.raises(Unavailable) as caught:
        await tickets.control.store.apply([another])
    assert caught.value.code == "too_many_tickets"


async def test_it_goes_with_its_vm(tickets: Tickets) -> None:
    text = await tickets.give()
    await tickets.control.store.apply([remove_vm(tickets.vm_id, MINE)])
    await tickets.refused(text)
