"""The way from the machine's loopback into the lab: every connection to a listening socket is passed on to an address that only the lab sees."""

import asyncio
import socket

_BYTES = 1 << 18


async def pass_on(listening: socket.socket, host: str, port: int) -> None:
    """Until cancelled. While nobody answers at `host`:`port`, connections are closed at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, onward_writer), _pump(onward_reader, writer))
        finally:
            onward_writer.close()
            writer.close()

    listening.setblocking(False)
    server = await asyncio.start_server(serve, sock=listening)
    async with server:
        await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What is read is written, as fast as the other end takes it; the end of one direction leaves the other open, as TCP does."""
    try:
        while data := await reader.read(_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()
