"""Byte streams into a machine: to its guests' consoles, and from libvirt to libvirt while a guest moves. A part of host.port."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from houyi.model.ids import VmId
from houyi.model.migration import Landing, Terms


@dataclass(frozen=True, slots=True)
class Channel:
    """A byte stream, in both directions."""

    read: Callable[[], Awaitable[bytes]]
    """Next bytes; b'' at the end."""
    write: Callable[[bytes], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


SETTLE_SECONDS = 0.3
"""QEMU's sender sleeps for 100 ms at most."""


class CallsWitness(Protocol):
    """At the source: looks on while libvirt's calls of a move pass through the agent's door."""

    @property
    def waits(self) -> bool:
        """Our libvirt has asked the destination to run the guest by itself (post-copy) and has no answer yet: if it is told that there will be none, it resumes its own copy."""
        ...

    @property
    def left(self) -> bool:
        """Our libvirt has said goodbye: that the connection ends is in order."""
        ...

    @property
    def several(self) -> bool:
        """QEMU sends over several connections: if the move fails, it needs SETTLE_SECONDS to close them before our libvirt may go on."""
        ...

    @property
    def gives_up(self) -> bool:
        """With what it said last, our libvirt gives up such a move, and goes on when it has the answer."""
        ...

    def asked(self, data: bytes) -> bytes:
        """Our libvirt says this; what to answer at once in the destination's place, so that it goes on waiting."""
        ...

    def answered(self, data: bytes) -> bool:
        """The destination says this; True once it says that the guest has arrived whole. As soon as our libvirt has these bytes, it never resumes its own copy."""
        ...


class Passages(Protocol):
    """Calls between the libvirts of two hosts, for the doors of their agents."""

    async def open(self, vm_id: VmId, landing: Landing, terms: Terms) -> Channel:
        """Destination: a connection to this machine's libvirt through which passes what a move of this VM on these terms needs, and nothing else.

        Its `read` and `write` :raise Forbidden: `call_refused`: close it. :raise Unavailable: `libvirt_away`.
        """
        ...

    def witness(self) -> CallsWitness: ...

    async def sever(self, address: str) -> None:
        """Source: end all that QEMU has on the line to a host that cannot be reached, so that moves to it fail at once. :raise Failed:"""
        ...
