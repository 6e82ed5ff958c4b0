"""What every command, intake and reconciler works with, and who asks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from houyi.base.clock import Clock
from houyi.base.config import Settings
from houyi.base.ids import Ids
from houyi.model.errors import Problem, Stale
from houyi.model.event import Event
from houyi.model.ids import EventId, OperationId, ProjectId
from houyi.model.operation import ENDED, Operation, OperationState
from houyi.model.token import Role
from houyi.store.mutation import Mutation, Precondition, Versioned, expect
from houyi.store.reads import View
from houyi.store.rows.event import insert_event
from houyi.store.rows.idempotency import remember
from houyi.store.store import Store

T = TypeVar("T")

ATTEMPTS = 8
"""How often a command starts over when the record moved under it; each loss means that somebody else got on."""


class Hints:
    """Wake-ups without payload, within one process. Losing one costs latency only: everybody looks on a period as well."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def poke(self, topic: str) -> None:
        self._events.setdefault(topic, asyncio.Event()).set()

    async def wait(self, topic: str, seconds: float) -> None:
        """Until poked, at most `seconds`. Pokes that came before are not lost."""
        event = self._events.setdefault(topic, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()


@dataclass(frozen=True, slots=True)
class Control:
    store: Store
    clock: Clock
    ids: Ids
    settings: Settings
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An Idempotency-Key: what the command answers is written down in the transaction of its wish.

    `render` turns the command's result into (HTTP status, body); it is called within the transaction, when the result's revision is known.
    """

    scope: str
    key: str
    request_sha256: str
    render: Callable[[Any], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, for which project, as part of which request."""

    actor: str
    project_id: ProjectId
    role: Role
    request_id: str = ""
    idempotency: Idempotency | None = None

    @property
    def scope(self) -> ProjectId | None:
        """What the views may show: None (everything) to administrators."""
        return None if self.role is Role.ADMIN else self.project_id


PLATFORM = Context(actor="platform", project_id=ProjectId(""), role=Role.ADMIN)
"""Who acts where nobody asked: reconcilers and workflows."""


def remembered(control: Control, ctx: Context, result: Any) -> list[Mutation]:
    """The mutation that remembers this answer (a dataclass with a `revision`), if the request carries an Idempotency-Key."""
    asked = ctx.idempotency
    if asked is None:
        return []
    return [remember(asked.scope, asked.key, asked.request_sha256, lambda revision: asked.render(replace(result, revision=revision)), control.clock.now())]


def as_expected(look: View[Versioned], revision: int | None) -> list[Precondition]:
    """The precondition of a caller who names the revision that they know (If-Match); none for None."""
    return [] if revision is None else [expect(look, revision)]


def new_event(
    control: Control,
    ctx: Context,
    kind: str,
    target_id: str,
    target_name: str,
    detail: str,
    *,
    project_id: ProjectId | None,
    data: Mapping[str, str] | None = None,
) -> Mutation:
    """An event caused by a request; `kind` is 'noun.what', its noun is the target's kind."""
    return insert_event(
        Event(
            id=EventId(control.ids.new()),
            project_id=project_id,
            kind=kind,
            target_kind=kind.partition(".")[0],
            target_id=target_id,
            target_name=target_name,
            detail=detail,
            data=data or {},
            actor=ctx.actor,
            request_id=ctx.request_id,
            at=control.clock.now(),
        )
    )


def new_operation(
    control: Control,
    ctx: Context,
    verb: str,
    target_id: str,
    *,
    project_id: ProjectId,
    generation: int = 0,
    done: bool = False,
    cancellable: bool = False,
    error: Problem | None = None,
) -> Operation:
    """A fresh operation; `done` for a wish that is fulfilled already."""
    now = control.clock.now()
    state = OperationState.DONE if done else OperationState.QUEUED
    return Operation(
        id=OperationId(control.ids.new()),
        project_id=project_id,
        verb=verb,
        target_kind=verb.partition(".")[0],
        target_id=target_id,
        target_generation=generation,
        state=state,
        progress=1.0 if done else 0.0,
        cancellable=cancellable,
        error=error,
        created_at=now,
        ended_at=now if state in ENDED else 0.0,
        request_id=ctx.request_id,
    )


async def again(attempt: Callable[[], Awaitable[T]], *, codes: Sequence[str] = ("revision_mismatch",)) -> T:
    """Run an optimistic read-decide-write; start over when it lost a race. :raise Stale: it lost ATTEMPTS times."""
    for left in range(ATTEMPTS - 1, -1, -1):
        try:
            return await attempt()
        except Stale as lost:
            if lost.code not in codes or left == 0:
                raise
    raise AssertionError("unreachable")
