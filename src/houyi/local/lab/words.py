"""What `houyi lab` and a lab's keeper say to each other over a UNIX socket (0600): one question a connection, one answer, each a line of JSON."""

from typing import Literal

import msgspec

from houyi.model import errors
from houyi.model.errors import Failed, HouyiError

Verb = Literal["status", "have", "start", "kill", "cut", "heal"]
Power = Literal["off", "starting", "on"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """`have`: read lab.json and start every host that is off. `other` is for cut: a host, `server`, or empty for everybody."""

    verb: Verb
    host: str = ""
    other: str = ""


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: as the server has it ('' while it does not know the host, or does not answer). `pid`: of its first process, as the lab numbers it."""

    name: str
    power: Power
    address: str
    memory_mib: int
    state: str = ""
    heard: bool = False
    """Whether the server has heard of it since it was switched on (by its boot id)."""
    cut_from: tuple[str, ...] = ()
    pid: int = 0
    machine: bool = False
    """Whether it is a whole (emulated) machine, with KVM."""
    problem: str = ""
    """Why it could not be started."""


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    up: bool
    """Whether its first process lives."""
    server: bool
    """Whether the API answers."""
    url: str
    shared: str
    """The folder, on the machine, that all hosts see at /var/lib/shared."""
    hosts: tuple[HostStatus, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A problem with its kind (a class of model.errors), or how the lab is now."""

    status: LabStatus | None = None
    kind: str = ""
    code: str = ""
    detail: str = ""


def refusal(error: HouyiError) -> Answer:
    """The error on its way to the command."""
    return Answer(kind=type(error).__name__, code=error.code, detail=error.detail)


def outcome(answer: Answer) -> LabStatus:
    """:raise HouyiError: the one that the keeper raised."""
    if answer.status is None:
        kind = getattr(errors, answer.kind, Failed)
        raise kind(answer.code, answer.detail)
    return answer.status
