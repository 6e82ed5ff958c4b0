"""Runs the reconcilers: each on its period, sooner after a hint, by one server at a time, and again after any failure."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from houyi.base.log import get_log
from houyi.control.control import Control
from houyi.model.errors import Conflict, HouyiError
from houyi.store.leases import take_lease

log = get_log(__name__)

LEASE_PERIODS = 5
"""A lease lasts this many periods: another server takes over that soon after this one has died."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    name: str
    run: Callable[[Control], Awaitable[None]]
    """One pass."""
    periods: float = 1.0
    """Its period, in units of settings.server.reconcile_seconds."""


async def run_forever(control: Control, reconciler: Reconciler, holder: str) -> None:
    """Until cancelled."""
    period = control.settings.server.reconcile_seconds * reconciler.periods
    leased_until = 0.0
    while True:
        try:
            now = control.clock.now()
            if now > leased_until - period:
                await control.store.apply([take_lease(reconciler.name, holder, now, LEASE_PERIODS * period)])
                leased_until = now + LEASE_PERIODS * period
            await reconciler.run(control)
        except Conflict as held:
            if held.code != "lease_held":
                log.warning("reconciler_conflict", reconciler=reconciler.name, code=held.code, detail=held.detail)
        except HouyiError as error:
            log.warning("reconciler_failed", reconciler=reconciler.name, code=error.code, detail=error.detail)
        except Exception:
            log.exception("reconciler_crashed", reconciler=reconciler.name)
            await asyncio.sleep(period)
        await control.hints.wait(reconciler.name, period)
