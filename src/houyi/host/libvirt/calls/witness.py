"""The source's side of a move's calls: what passes is libvirt's own, but two moments in it matter to us.

When the destination says that it has the guest whole, it is time for GO. And in a move that may go post-copy, where libvirt cannot be told to let the
arrived guest wait, the source's libvirt takes a lost connection for a failure and resumes its copy, even if the other runs by then: so as long as it
waits for that word it is kept waiting, whatever becomes of the network.

A third moment is the end of a move over several connections (multifd) that fails. A connection sets QEMU's state to `failed` at once; libvirt, told so, asks the
destination to tidy up, and then takes the capability `multifd` back. QEMU's sender, which closes the connections, sleeps for up to 100 ms at a time to keep a cap;
if it wakes up only then, QEMU (10.0) no longer knows that there are any, and ends itself by an assertion (`yank_unregister_instance`), guest and all.
So before libvirt hears anything of the destination then, it is kept waiting for longer than that.
"""

import libvirt

from houyi.host.libvirt.calls.frames import Frame, Frames, Kind, NotRpc
from houyi.host.libvirt.calls.passage import CLOSE, FINISH, KEEPALIVE, PING, PONG, PREPARE, REMOTE, VERSION

_OK = 0


class Witness:
    """Looks on; changes nothing. What is no RPC makes it blind, not wrong: then GO comes later, on the source's testimony."""

    def __init__(self) -> None:
        self._asked, self._answered = Frames(), Frames()
        self._finishing: dict[int, bool] = {}
        """Serials of calls that say: it is all sent; and whether the guest runs there by itself."""
        self._blind = False
        self._left = False
        self._several = False
        self._gives_up = False

    @property
    def waits(self) -> bool:
        """Our libvirt has asked the destination to run the guest and has no answer yet: it must not be told that there will be none."""
        return any(self._finishing.values())

    @property
    def left(self) -> bool:
        """Our libvirt has said goodbye, or cannot be understood: that the connection ends is in order."""
        return self._left or self._blind

    @property
    def several(self) -> bool:
        return self._several

    @property
    def gives_up(self) -> bool:
        return self._gives_up

    def asked(self, data: bytes) -> bytes:
        """Our libvirt says this; while it `waits`, what to answer in the destination's place so that it goes on waiting, else b''."""
        pings, self._gives_up = 0, False
        for frame in self._read(self._asked, data):
            if (frame.program, frame.procedure, frame.kind) == (REMOTE, FINISH, Kind.CALL):
                self._finish(frame)
            if (frame.program, frame.procedure, frame.kind) == (REMOTE, PREPARE, Kind.CALL):
                self._several = bool(int.from_bytes(frame.payload[-4:], "big") & libvirt.VIR_MIGRATE_PARALLEL)
            self._left = self._left or (frame.program, frame.procedure, frame.kind) == (REMOTE, CLOSE, Kind.CALL)
            pings += (frame.program, frame.procedure, frame.kind) == (KEEPALIVE, PING, Kind.MESSAGE)
        return pings * Frame(KEEPALIVE, VERSION, PONG, Kind.MESSAGE, 0, _OK, b"").encode() if self.waits else b""

    def answered(self, data: bytes) -> bool:
        """The destination says this; True once it contains that the guest has arrived: from the moment that our libvirt has these bytes it never resumes its own copy."""
        arrived = False
        for frame in self._read(self._answered, data):
            if (frame.program, frame.procedure, frame.kind) == (REMOTE, FINISH, Kind.REPLY) and self._finishing.pop(frame.serial, None) is not None:
                arrived = arrived or frame.status == _OK
        return arrived

    def _finish(self, frame: Frame) -> None:
        """Its arguments end with the flags and with whether the move has failed, so that the destination shall only tidy up."""
        flags, cancelled = int.from_bytes(frame.payload[-8:-4], "big"), frame.payload[-4:] != bytes(4)
        self._gives_up = self._gives_up or (cancelled and self._several)
        if not cancelled:
            self._finishing[frame.serial] = not flags & libvirt.VIR_MIGRATE_PAUSED

    def _read(self, frames: Frames, data: bytes) -> list[Frame]:
        if self._blind:
            return []
        try:
            return frames.feed(data)
        except NotRpc:
            self._blind = True
            return []
