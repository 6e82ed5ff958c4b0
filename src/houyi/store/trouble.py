"""What a database or its driver raises, and what callers are told of it."""

import asyncpg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from houyi.model.errors import Conflict, HouyiError, Invalid, Unavailable

TROUBLE = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, UnicodeError, OverflowError)
"""What a database or its driver raises."""
_VALUE_STATES = ("22", "23")
"""SQLSTATE classes 'data exception' and 'integrity constraint violation'."""


def unreachable() -> Unavailable:
    return Unavailable("store_unreachable", "the store cannot be written to now: try again in a moment")


def full() -> Unavailable:
    return Unavailable("store_disk_full", "the disk of the store is full: make room, then try again")


def causes(error: BaseException) -> list[str]:
    """First lines, the newest first: when SQLite itself has rolled back, the failure of our own rollback hides why."""
    lines = []
    now: BaseException | None = error
    while now is not None:
        lines.append(f"{type(now).__name__}: {str(now).partition(chr(10))[0]}")
        now = now.__cause__ or now.__context__
    return lines


def is_callers(error: Exception) -> bool:
    """Whether only the caller's own values are at fault, so that the transaction and everybody else's writes go on."""
    if isinstance(error, DBAPIError):
        sqlstate = getattr(error.orig, "sqlstate", None) or ""
        by_value = isinstance(error, IntegrityError | DataError) or sqlstate[:2] in _VALUE_STATES
        return by_value and not error.connection_invalidated
    return isinstance(error, UnicodeError | OverflowError)


def refusal(error: Exception) -> HouyiError:
    if isinstance(error, IntegrityError):
        return _explain(error)
    return Invalid("text_invalid", "a text with NUL or half a surrogate pair, or a number beyond 64 bits, cannot be stored or looked for: correct it")


def _explain(error: IntegrityError) -> Conflict:
    text = str(error.orig).splitlines()[0]  # the second line quotes the caller's values
    if "FOREIGN KEY" in text or "foreign key" in text:
        return Conflict("in_use", "something still refers to it, or what it refers to is gone: look again")
    if "nic.mac" in text or "pk_nic" in text:
        return Conflict("mac_taken", "that MAC is taken: try again, another one is chosen")
    if "address" in text:
        return Conflict("address_taken", "that address is taken on this network: choose another, or leave the choice to the platform")
    if "experiment_course" in text:
        return Conflict("vm_under_experiment", "an experiment with the VM has not ended: wait for its end, or cancel it (`houyi tune experiments`)")
    if "migration_course" in text:
        return Conflict("vm_migrating", "the VM is on a move already, or what is left of one is still being removed: see `houyi migration list`")
    if "name" in text:
        return Conflict("name_taken", "that name is taken: choose another")
    return Conflict("conflict", f"a constraint of the store refused it: {text}")
