"""A host's word on what its own knobs are. What is no knob of ours, or no value of one, is dropped."""

from houyi.control.control import Control, new_event
from houyi.control.intake.host import host_context
from houyi.model.ids import HostId
from houyi.model.tuning import HostTuned, Scope, Settings
from houyi.planning.tuning.knobs import BY_NAME
from houyi.store.rows.host import put_host_tuned
from houyi.store.views.host import get_host

_VALUE_MAX = 64
_DETAIL_MAX = 500


async def take_tuned(control: Control, host_id: HostId, tuned: HostTuned) -> None:
    """Write it down if it is news; what cannot be set becomes an event. :raise NotFound: `host_not_found`: it was removed."""
    kept = HostTuned(values=_known(tuned.values, _VALUE_MAX), before=_known(tuned.before, _VALUE_MAX), problems=_known(tuned.problems, _DETAIL_MAX))
    host = await control.store.read(lambda c: get_host(c, host_id))
    if host.tuned == kept:
        return
    fresh = {} if host.tuned is None else host.tuned.problems
    events = [
        new_event(control, host_context(host_id), "host.tuning_failed", host_id, host.name, f"{name}: {why}", project_id=None)
        for name, why in kept.problems.items()
        if fresh.get(name) != why
    ]
    await control.store.apply([put_host_tuned(host_id, kept), *events])


def _known(settings: Settings, longest: int) -> dict[str, str]:
    """A value that is there now may be none that we would set."""
    return {name: value[:longest] for name, value in settings.items() if name in BY_NAME and BY_NAME[name].scope is Scope.HOST}
