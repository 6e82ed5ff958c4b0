"""A process that stamps every byte of serial ports as it arrives, so that nothing else that the benchmark does delays the stamps.

watch PATH     connect as soon as the socket is there, again when the connection ends; ports are numbered from 0 in the order of these lines
send N HEX     to port N
take           what has come since the last `take`, pickled: [(monotonic seconds, port, bytes)], with its length (8 bytes) before it
"""

import contextlib
import gc
import os
import pickle
import selectors
import socket
import subprocess
import sys
import time

RETRY_SECONDS = 0.002


class Listener:
    """Of this process, with a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def watch(self, path: object) -> None:
        self._say(f"watch {path}")

    def send(self, port: int, data: bytes) -> None:
        self._say(f"send {port} {data.hex()}")

    def take(self) -> list[tuple[float, int, bytes]]:
        self._say("take")
        assert self._process.stdout is not None
        size = int.from_bytes(self._process.stdout.read(8), "big")
        return list(pickle.loads(self._process.stdout.read(size)))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(5)


class _Ports:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.paths: list[str] = []
        self.open: dict[int, socket.socket] = {}
        self.pieces: list[tuple[float, int, bytes]] = []

    def connect(self) -> None:
        for port, path in enumerate(self.paths):
            if port not in self.open:
                sock = socket.socket(socket.AF_UNIX)
                try:
                    sock.connect(path)
                except OSError:
                    sock.close()
                    continue
                sock.setblocking(False)
                self.open[port] = sock
                self.selector.register(sock, selectors.EVENT_READ, port)

    def read(self, port: int) -> None:
        sock, data = self.open[port], b""
        with contextlib.suppress(OSError):
            data = sock.recv(65536)
        if data:
            self.pieces.append((time.monotonic(), port, data))
            return
        self.selector.unregister(sock)
        self.open.pop(port).close()


def _obey(ports: _Ports, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "watch":
        ports.paths.append(rest)
    elif word == "send":
        port, _, data = rest.partition(" ")
        with contextlib.suppress(OSError, KeyError):
            ports.open[int(port)].sendall(bytes.fromhex(data))
    elif word == "take":
        data = pickle.dumps(ports.pieces)
        ports.pieces = []
        sys.stdout.buffer.write(len(data).to_bytes(8, "big") + data)
        sys.stdout.buffer.flush()


def _serve() -> None:
    gc.disable()
    with contextlib.suppress(OSError):  # it costs little and must not wait; without the right to it, stamps are a little later
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    ports, rest = _Ports(), b""
    ports.selector.register(0, selectors.EVENT_READ, -1)
    tried = 0.0
    while True:
        if time.monotonic() - tried > RETRY_SECONDS and len(ports.open) < len(ports.paths):
            ports.connect()
            tried = time.monotonic()
        for key, _ in ports.selector.select(RETRY_SECONDS if len(ports.open) < len(ports.paths) else 1.0):
            if key.data >= 0:
                ports.read(key.data)
                continue
            if not (data := os.read(0, 65536)):
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _obey(ports, line.decode())


if __name__ == "__main__":
    _serve()
