"""The three ways in which a row changes, as functions over a connection."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, insert, update


def put(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Update the row with this key, or insert it. Writers take turns (store.py), so nothing can come between the two."""
    where = and_(*(table.c[name] == value for name, value in key.items()))
    if connection.execute(update(table).where(where).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def drop(connection: Connection, table: Table, key: Mapping[str, Any]) -> int:
    """Delete the rows with this key; how many there were."""
    return connection.execute(delete(table).where(and_(*(table.c[name] == value for name, value in key.items())))).rowcount
