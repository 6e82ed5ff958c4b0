"""What was answered to a request that carried an Idempotency-Key, written in the same transaction as its wish."""

from collections.abc import Callable, Mapping
from typing import Any

from houyi.model.errors import Conflict
from houyi.store import tables
from houyi.store.mutation import Act, Look, Mutation, Row, Rows


def remember(scope: str, key: str, request_sha256: str, render: Callable[[int], tuple[int, str]], created_at: float) -> Mutation:
    """`render` makes (HTTP status, body) of the revision that the transaction gets.

    :raise Conflict: `idempotency_in_use`: another request with this key was first; repeating the request gets its answer.
    """

    def check(row: Mapping[str, Any] | None) -> None:
        if row is not None:
            raise Conflict("idempotency_in_use", "another request with this Idempotency-Key was first: repeat the request to get its answer")

    def values(revision: int) -> Mapping[str, Any]:
        status, response = render(revision)
        return {"request_sha256": request_sha256, "status": status, "response": response, "created_at": created_at}

    table = tables.idempotency
    rows = Rows([Row(Act.INSERT, table, (scope, key), values)], [Look(table, (scope, key), (), check)])
    return Mutation("idempotency", f"{scope}/{key}", None, rows, quiet=True)
