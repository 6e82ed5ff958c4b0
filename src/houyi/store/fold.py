"""Rows by primary key, of many applies at once: one statement a table and set of columns, whatever their number."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Connection, Insert, Select, Table, Update, bindparam, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from houyi.store import tables
from houyi.store.mutation import Act, Key, Look, Row, Rows

PARAMETERS_MAX = 5_000
"""Values in one statement that looks: an eighth of what the databases allow."""

Place = tuple[Table, Key]
Seen = dict[tuple[Table, tuple[str, ...], Key], Mapping[str, Any]]


class Written(NamedTuple):
    """A row, with the values that it gets."""

    row: Row
    values: Mapping[str, Any]


def looks_at(looks: Iterable[Look]) -> set[Place]:
    return {(look.table, look.key) for look in looks}


def writes_to(rows: Iterable[Row]) -> set[Place]:
    return {(row.table, row.key) for row in rows}


def see(connection: Connection, looks: Iterable[Look]) -> Seen:
    """The rows that are looked at; those that are not there are left out."""
    wanted: dict[tuple[Table, tuple[str, ...]], set[Key]] = defaultdict(set)
    for look in looks:
        wanted[look.table, look.columns].add(look.key)
    seen: Seen = {}
    for (table, columns), keys in wanted.items():
        at_once = PARAMETERS_MAX // len(table.primary_key)
        ordered = sorted(keys)
        for start in range(0, len(ordered), at_once):
            for found in connection.execute(_select(table, columns), {"keys": _padded(ordered[start : start + at_once])}):
                values = found._asdict()
                seen[table, columns, tuple(values[one.name] for one in table.primary_key)] = values
    return seen


def check(look: Look, seen: Seen) -> None:
    """:raise HouyiError: what the look refuses with."""
    look.check(seen.get((look.table, look.columns, look.key)))


def check_alone(connection: Connection, look: Look) -> None:
    check(look, see(connection, [look]))


def write(connection: Connection, written: Sequence[Written]) -> None:
    """Rows that are all different: first the new ones, each table after those that it refers to, then those that are updated."""
    many: dict[tuple[Act, Table, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
    for row, values in written:
        key = {f"key_{one.name}": value for one, value in zip(row.table.primary_key, row.key, strict=True)}
        many[row.act, row.table, tuple(values)].append({**key, **{f"new_{name}": value for name, value in values.items()}})
    for act, table, columns in sorted(many, key=_order):
        statement = _update(table, columns) if act is Act.UPDATE else _insert(table, columns, connection.dialect.name if act is Act.PUT else "")
        connection.execute(statement, many[act, table, columns])


def write_alone(connection: Connection, rows: Rows, revision: int) -> None:
    """One mutation's, in its turn. :raise HouyiError: what a look refuses with."""
    for look in rows.looks:
        check_alone(connection, look)
    for row in rows.rows:
        write(connection, [Written(row, row.values(revision))])


_PLACES = {table: number for number, table in enumerate(tables.metadata.sorted_tables)}


def _order(group: tuple[Act, Table, tuple[str, ...]]) -> tuple[bool, int]:
    return group[0] is not Act.INSERT, _PLACES[group[1]]


def _padded(keys: Sequence[Key]) -> list[Any]:
    """The last one again up to a power of two: the number of values is part of a statement's text, and each text is prepared once."""
    plain = [key[0] if len(key) == 1 else key for key in keys]
    return plain + plain[-1:] * ((1 << (len(plain) - 1).bit_length()) - len(plain))


@cache
def _select(table: Table, columns: tuple[str, ...]) -> Select[Any]:
    key = list(table.primary_key)
    which: ColumnElement[Any] = key[0] if len(key) == 1 else tuple_(*key)
    shown = [*key, *(table.c[name] for name in columns if name not in table.primary_key)]
    return select(*shown).where(which.in_(bindparam("keys", expanding=True)))


@cache
def _update(table: Table, columns: tuple[str, ...]) -> Update:
    statement = update(table).values({name: bindparam(f"new_{name}") for name in columns})
    for one in table.primary_key:
        statement = statement.where(one == bindparam(f"key_{one.name}"))
    return statement


@cache
def _insert(table: Table, columns: tuple[str, ...], dialect: str) -> Insert:
    """:param dialect: of the database, where a row that is there already is updated; '' where that is a conflict."""
    values: dict[str, BindParameter[Any]] = {one.name: bindparam(f"key_{one.name}") for one in table.primary_key} | {
        name: bindparam(f"new_{name}") for name in columns
    }
    if not dialect:
        return insert(table).values(values)
    known = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return known.values(values).on_conflict_do_update(index_elements=list(table.primary_key), set_={name: known.excluded[name] for name in columns})
