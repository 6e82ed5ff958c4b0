"""The source's side of a move's calls: what passes is libvirt's own, but when the destination says that it has the guest whole, that is the time for GO."""

from houyi.host.libvirt.calls.frames import Frames, Kind, NotRpc
from houyi.host.libvirt.calls.passage import FINISH, REMOTE

_OK = 0


class Witness:
    """Looks on; changes nothing. What is no RPC makes it blind, not wrong: then GO comes later, on the source's testimony."""

    def __init__(self) -> None:
        self._asked, self._answered = Frames(), Frames()
        self._finishing: set[int] = set()
        self._blind = False

    def asked(self, data: bytes) -> None:
        """Our libvirt says this."""
        try:
            for frame in self._asked.feed(data) if not self._blind else ():
                # the last word of its arguments: whether the move has failed, and the destination shall only tidy up
                if (frame.program, frame.procedure, frame.kind) == (REMOTE, FINISH, Kind.CALL) and frame.payload[-4:] == bytes(4):
                    self._finishing.add(frame.serial)
        except NotRpc:
            self._blind = True

    def answered(self, data: bytes) -> bool:
        """The destination says this; True once it contains that the guest has arrived: from the moment that our libvirt has these bytes it never resumes its own copy."""
        try:
            frames = self._answered.feed(data) if not self._blind else []
        except NotRpc:
            self._blind = True
            return False
        return any(
            (frame.program, frame.procedure, frame.kind, frame.status) == (REMOTE, FINISH, Kind.REPLY, _OK) and frame.serial in self._finishing
            for frame in frames
        )
