"""One libvirt connection that heals itself.

    closed --open()--> trying <--> connected --close()--> closed
                          (lost: libvirtd died, or three keepalives were not answered)

libvirt's own event loop runs in one daemon thread of the process and hands everything to asyncio with call_soon_threadsafe; so it
does not matter which event loop asyncio uses (uvloop in production). Calls block, so they run in a small pool of threads.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt

from houyi.base.log import get_log
from houyi.model.errors import Failed, HouyiError, Invalid, Unavailable

T = TypeVar("T")
Connection = Any
"""A libvirt.virConnect; libvirt-python has no types."""

THREADS = 8
"""Calls at once: starting a VM holds a thread for about half a second; ten VMs that start together must not starve observe()."""
KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 3, 3
"""A hung libvirtd (or one whose machine is gone) is given up after about 12 s."""
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between attempts to reopen; the last one repeats. Attempts on a UNIX socket cost nothing."""

_log = get_log(__name__)
_loop_lock = threading.Lock()
_loop_thread: threading.Thread | None = None

_INVALID = frozenset({libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_XML_INVALID_SCHEMA})
_BUSY = frozenset({libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY})
_AWAY = frozenset({libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN})


def _ensure_event_loop() -> None:
    """libvirt's event loop is one per process and must be registered before the first connection."""
    global _loop_thread
    with _loop_lock:
        if _loop_thread is None:
            libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; printing them too is noise
            libvirt.virEventRegisterDefaultImpl()
            _loop_thread = threading.Thread(target=_run_events, name="libvirt-events", daemon=True)
            _loop_thread.start()


def _run_events() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()


def translated(error: libvirt.libvirtError, *, alive: bool = True) -> HouyiError:
    """libvirt's error as ours: `libvirt_away`, `libvirt_busy` (Unavailable), `domain_refused` (Invalid), `libvirt_failed` (Failed)."""
    code, words = error.get_error_code(), str(error)
    if not alive or code in _AWAY:
        return away(words)
    if code in _BUSY:
        return Unavailable("libvirt_busy", f"libvirt is busy with this VM ({words}): it is tried again")
    if code in _INVALID:
        return Invalid("domain_refused", f"this host's libvirt cannot make such a VM ({words}): correct its specification")
    return Failed("libvirt_failed", f"libvirt refused: {words}")


def away(words: str) -> Unavailable:
    return Unavailable("libvirt_away", f"libvirt does not answer ({words}): it is tried again by itself; see whether libvirtd runs")


class LibvirtConnection:
    """See the module. `on_open(connection)` runs in a thread after each opening, to register callbacks; `on_change(connected)` in the event loop."""

    def __init__(self, uri: str, on_open: Callable[[Connection], None], on_change: Callable[[bool, str], None]) -> None:
        self._uri, self._on_open, self._on_change = uri, on_open, on_change
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._connection: Connection = None
        self._lost = asyncio.Event()
        self._opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def open(self, seconds: float = 0.0) -> None:
        """Start connecting, and wait up to `seconds` for the first success; it goes on trying in any case."""
        _ensure_event_loop()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._opened.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._in_thread(lambda: _close(connection))
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, act: Callable[[Connection], T]) -> T:
        """Run `act(connection)` in a thread.

        :raise Unavailable: `libvirt_away`, `libvirt_busy`. :raise Invalid: `domain_refused`. :raise Failed: `libvirt_failed`. Errors of ours pass through.
        """
        connection = self._connection
        if connection is None:
            raise away("not connected")
        try:
            return await self._in_thread(lambda: act(connection))
        except libvirt.libvirtError as error:
            alive = await self._in_thread(lambda: _is_alive(connection))
            if not alive:
                self._lost.set()
            raise translated(error, alive=alive) from error

    async def call_apart(self, act: Callable[[Connection], T]) -> T:
        """The same for what takes minutes: in a thread of its own, so that it holds up nothing else. Cancelling the caller does not end it."""
        connection = self._connection
        if connection is None:
            raise away("not connected")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = act(connection)
            except BaseException as error:
                _settle(loop, done, error=error)
            else:
                _settle(loop, done, result=result)

        threading.Thread(target=run, name="libvirt-apart", daemon=True).start()
        try:
            return await done
        except libvirt.libvirtError as error:
            raise translated(error, alive=await self._in_thread(lambda: _is_alive(connection))) from error

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, act)

    async def _keep(self) -> None:
        attempt = 0
        while True:
            self._lost.clear()
            try:
                self._connection = await self._in_thread(self._dial)
            except libvirt.libvirtError as error:
                if attempt == 0:
                    _log.warning("libvirt_unreachable", uri=self._uri, error=str(error))
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
                attempt += 1
                continue
            attempt = 0
            _log.info("libvirt_connected", uri=self._uri)
            self._opened.set()
            self._on_change(True, "")
            await self._lost.wait()
            dead, self._connection = self._connection, None
            _log.warning("libvirt_lost", uri=self._uri)
            self._on_change(False, "libvirtd closed the connection or does not answer")
            await asyncio.get_running_loop().run_in_executor(self._pool, _close, dead)

    def _dial(self) -> Connection:
        connection = libvirt.open(self._uri)
        try:
            connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            connection.registerCloseCallback(self._closed, None)
            self._on_open(connection)
        except libvirt.libvirtError:
            _close(connection)
            raise
        return connection

    def _closed(self, _connection: Connection, _reason: int, _opaque: object) -> None:
        """In libvirt's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                self._loop.call_soon_threadsafe(self._lost.set)


def _settle(loop: asyncio.AbstractEventLoop, done: "asyncio.Future[T]", *, result: Any = None, error: BaseException | None = None) -> None:
    """From another thread; nobody may be left who waits."""

    def settle() -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
        loop.call_soon_threadsafe(settle)


def _close(connection: Connection) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        connection.unregisterCloseCallback()
    with contextlib.suppress(libvirt.libvirtError):
        connection.close()


def _is_alive(connection: Connection) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
