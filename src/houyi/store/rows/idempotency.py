"""What was answered to a request that carried an Idempotency-Key, written in the same transaction as its wish."""

from collections.abc import Callable

from sqlalchemy import Connection, insert, select

from houyi.model.errors import Conflict
from houyi.store import tables
from houyi.store.mutation import Mutation


def remember(scope: str, key: str, request_sha256: str, render: Callable[[int], tuple[int, str]], created_at: float) -> Mutation:
    """`render` makes (HTTP status, body) of the revision that the transaction gets.

    :raise Conflict: `idempotency_in_use`: another request with this key was first; repeating the request gets its answer.
    """

    def write(connection: Connection, revision: int) -> None:
        table = tables.idempotency
        if connection.execute(select(table.c.key).where(table.c.scope == scope, table.c.key == key)).first() is not None:
            raise Conflict("idempotency_in_use", "another request with this Idempotency-Key was first: repeat the request to get its answer")
        status, response = render(revision)
        connection.execute(insert(table).values(scope=scope, key=key, request_sha256=request_sha256, status=status, response=response, created_at=created_at))

    return Mutation("idempotency", f"{scope}/{key}", None, write, quiet=True)
