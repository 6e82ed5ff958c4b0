"""A host's words about the moves that it is an end of. What is about another's end, or about a move that has ended, is dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.ids import HostId
from houyi.model.migration import ENDED, End, Migration, ObservedMove
from houyi.store.mutation import Mutation
from houyi.store.rows.migration import put_observed_move
from houyi.store.views.migration import migrations_by_id

log = get_log(__name__)


async def move_mutations(control: Control, host_id: HostId, moves: Sequence[ObservedMove]) -> list[Mutation]:
    """What to write of what an end testifies: only what is new, since it is said again with every heartbeat."""
    if not moves:
        return []
    known = await control.store.read(lambda c: migrations_by_id(c, [move.id for move in moves]))
    return [mutation for move in moves for mutation in _take(host_id, known, move)]


def _take(host_id: HostId, known: Mapping[str, Migration], move: ObservedMove) -> list[Mutation]:
    migration = known.get(move.id)
    if migration is None or migration.course.state in ENDED:
        return []  # the host is told nothing of it any more, and forgets it then
    source = move.end is End.SOURCE
    if host_id != (migration.source_id if source else migration.destination_id):
        log.warning("report_of_strange_move", host=host_id, migration=move.id, end=move.end.value)
        return []
    before = migration.source if source else migration.destination
    if before is not None and replace(before, at=move.at) == move:
        return []
    return [put_observed_move(migration, host_id, move)]
