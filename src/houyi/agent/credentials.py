"""QEMU's credentials for moves: a key and certificate beside the host's own, renewed in the same way, put where QEMU finds them.

Not the host's own certificate: QEMU's user can read this key, and what it opens must not be more than a move.
"""

import asyncio
from collections.abc import Awaitable, Callable

from houyi.agent.identity import Identity
from houyi.agent.keypair import KeyPair, dns_names
from houyi.base.clock import Clock
from houyi.base.log import get_log
from houyi.model.errors import HouyiError
from houyi.model.host import move_name

log = get_log(__name__)

AGAIN_SECONDS = 30.0
"""Between attempts to put them in place: a full disk, a folder that somebody is just mending."""

Install = Callable[[str, str, str], Awaitable[None]]
"""(CA, certificate, key), all PEM: `Mover.credentials`."""


class MoveCredentials:
    def __init__(self, identity: Identity, install: Install, clock: Clock) -> None:
        self._identity, self._install, self._clock = identity, install, clock
        self._pair = KeyPair(identity.folder, "move")
        self._new = asyncio.Event()

    def renew_at(self) -> float:
        """Unix seconds; 0: there is none yet."""
        return self._pair.renew_at()

    def request(self) -> str:
        """:raise Failed: `identity_damaged`."""
        return self._pair.request()

    def renew(self, pem: str) -> None:
        """Keep it, and have it put in place. :raise Failed: `certificate_unusable`: the old one stays."""
        name = move_name(self._identity.host_id())
        self._pair.renew(pem, self._identity.ca_path.read_text(), lambda new: dns_names(new) == [name])
        self._new.set()

    async def run(self) -> None:
        """Have what is there in place, now and after each renewal, until cancelled."""
        if self._pair.certificate_path.exists():
            self._new.set()
        while True:
            await self._new.wait()
            self._new.clear()
            try:
                await self._install(self._identity.ca_path.read_text(), self._pair.certificate_path.read_text(), self._pair.key_path.read_text())
                log.info("move_credentials_in_place")
            except (HouyiError, OSError) as error:
                log.error("move_credentials_not_in_place", error=str(error))
                await self._clock.sleep(AGAIN_SECONDS)
                self._new.set()
