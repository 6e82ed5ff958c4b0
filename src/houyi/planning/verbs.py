"""Which verb may be said to a VM in which state: accept, already so, or refuse with a reason. One table, read in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from houyi.model.vm import EffectiveState, Power, Vm, effective


class Verb(StrEnum):
    START = "start"
    STOP = "stop"
    FORCE_STOP = "force_stop"
    PAUSE = "pause"
    RESUME = "resume"
    REBOOT = "reboot"
    RESET = "reset"
    UPDATE = "update"
    DELETE = "delete"


class Verdict(StrEnum):
    ACCEPT = "accept"
    ALREADY = "already"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Answer:
    verdict: Verdict
    code: str = ""
    detail: str = ""


ACCEPT = Answer(Verdict.ACCEPT)
ALREADY = Answer(Verdict.ALREADY)
_DELETING = Answer(Verdict.REFUSE, "vm_deleting", "the VM is being deleted")
_NOT_RUNNING = Answer(Verdict.REFUSE, "vm_not_running", "the VM is not running: start it first")
_NOT_PAUSED = Answer(Verdict.REFUSE, "vm_not_paused", "the VM is not paused")
_PAUSED = Answer(Verdict.REFUSE, "vm_paused", "the VM is paused: resume it first")
_UNREACHABLE = Answer(Verdict.REFUSE, "host_unreachable", "the VM's host is not heard of: it is unknown whether the VM runs")

_S = EffectiveState
_EVERY_STATE = tuple(EffectiveState)


def _row(default: Answer, **by_state: Answer) -> dict[EffectiveState, Answer]:
    row = dict.fromkeys(_EVERY_STATE, default)
    row.update({EffectiveState(state): answer for state, answer in by_state.items()})
    return row


TABLE: Mapping[Verb, Mapping[EffectiveState, Answer]] = {
    Verb.START: _row(ACCEPT, running=ALREADY, starting=ALREADY, paused=_PAUSED, deleting=_DELETING),
    Verb.STOP: _row(ACCEPT, stopped=ALREADY, stopping=ALREADY, deleting=_DELETING),
    Verb.FORCE_STOP: _row(ACCEPT, stopped=ALREADY, deleting=_DELETING),
    Verb.PAUSE: _row(_NOT_RUNNING, running=ACCEPT, starting=ACCEPT, creating=ACCEPT, paused=ALREADY, unknown=_UNREACHABLE, deleting=_DELETING),
    Verb.RESUME: _row(_NOT_PAUSED, paused=ACCEPT, running=ALREADY, unknown=_UNREACHABLE, deleting=_DELETING),
    Verb.REBOOT: _row(_NOT_RUNNING, running=ACCEPT, paused=_PAUSED, unknown=_UNREACHABLE, deleting=_DELETING),
    Verb.RESET: _row(_NOT_RUNNING, running=ACCEPT, paused=_PAUSED, unknown=_UNREACHABLE, deleting=_DELETING),
    Verb.UPDATE: _row(ACCEPT, deleting=_DELETING),
    Verb.DELETE: _row(ACCEPT, deleting=ALREADY),
}

_HEADED_FOR: Mapping[Power, EffectiveState] = {
    Power.RUNNING: _S.RUNNING,
    Power.PAUSED: _S.PAUSED,
    Power.STOPPED: _S.STOPPING,
}


_WISH: Mapping[Verb, Power] = {
    Verb.START: Power.RUNNING,
    Verb.STOP: Power.STOPPED,
    Verb.FORCE_STOP: Power.STOPPED,
    Verb.PAUSE: Power.PAUSED,
    Verb.RESUME: Power.RUNNING,
}


def anticipated(vm: Vm) -> EffectiveState:
    """The state that a new verb meets: while an earlier wish is under way, the state that it leads to, so that verbs said in a row are taken in order."""
    if vm.desired.deleted:
        return _S.DELETING
    if vm.host_id is not None and not vm.host_heard:
        return _S.UNKNOWN
    observed = vm.observed
    if observed is None or observed.generation < vm.desired.generation:
        return _HEADED_FOR[vm.desired.power]
    return effective(vm)


_MIGRATING = Answer(Verdict.REFUSE, "vm_migrating", "the VM is being moved to another host: wait for its end, or cancel it (`houyi migration list`)")


def may(verb: Verb, vm: Vm) -> Answer:
    """The answer to `verb` now. A state that came about against the wish is no 'already so': the wish has still to be written down."""
    if vm.migration_id is not None and not (verb is Verb.DELETE and vm.migration_unknown):  # with a host that never comes back it would wait for ever
        return _MIGRATING
    answer = TABLE[verb][anticipated(vm)]
    if answer.verdict is Verdict.ALREADY and verb in _WISH and vm.desired.power is not _WISH[verb]:
        return ACCEPT
    return answer
