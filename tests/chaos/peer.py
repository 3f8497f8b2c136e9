"""One end of a proxied call: HTTP/1.1 as h11 speaks it, on an asyncio stream."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Iterable
from typing import cast

import h11

CHUNK_BYTES = 64 * 1024
IO_SECONDS = 60.0
"""How long one read or write within a call may take."""

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"expect"})

NUMBERS = itertools.count()

Event = h11.Event | type[h11.PAUSED]
Headers = list[tuple[bytes, bytes]]


class Peer:
    """The client or the upstream, as a source and a sink of HTTP events."""

    def __init__(
        self,
        role: type[h11.SERVER] | type[h11.CLIENT],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role)
        self.number = next(NUMBERS)
        """Tells connections apart."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int) -> Peer:
        """Opens a connection to an upstream."""
        async with asyncio.timeout(IO_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=CHUNK_BYTES)
        return cls(h11.CLIENT, reader, writer)

    async def event(self, *, patient: bool = False) -> Event:
        """The next event; a patient caller waits for it as long as the connection lasts."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            async with asyncio.timeout(None if patient else IO_SECONDS):
                self.http.receive_data(await self._reader.read(CHUNK_BYTES))
        return cast(Event, event)

    async def send(self, event: h11.Event) -> None:
        """Writes an event and waits until the other side has taken most of it."""
        if data := self.http.send(event):
            self._writer.write(data)
            async with asyncio.timeout(IO_SECONDS):
                await self._writer.drain()

    async def drain(self) -> None:
        """Reads the rest of the message and forgets it."""
        while isinstance(await self.event(), h11.Data):
            pass

    def reset(self) -> None:
        """Ends the connection with RST, dropping what is not sent yet."""
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Sends what is left and ends the connection in an orderly way."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(IO_SECONDS):
                await self._writer.wait_closed()


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers that are meant for the far end, in their order."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


def length_of(message: h11.Request | h11.Response) -> int | None:
    """The body's length: 0 without a body, ``None`` when only its end will tell."""
    headers = dict(message.headers)
    if b"content-length" in headers:
        return int(headers[b"content-length"])
    bodiless = isinstance(message, h11.Request) or message.status_code in (204, 304)
    return 0 if bodiless and b"transfer-encoding" not in headers else None
