"""Goal: the store does not grow for ever."""

from houyi.control.control import Control
from houyi.store.changes import forget_changes, forget_history


async def keep_house(control: Control) -> None:
    """One pass."""
    settings, now = control.settings.server, control.clock.now()
    await control.store.apply([forget_changes(settings.changes_kept)])
    await control.store.apply([forget_history(now - settings.events_kept_days * 86400, now - settings.idempotency_hours * 3600)])
