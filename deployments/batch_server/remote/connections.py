"""HTTP/1.1 over connections to checked addresses, which are used again.

The server makes one small request after the other, for which a full HTTP client costs several times as much as the
protocol itself does.
"""

import asyncio
import select
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

from deployments.batch_server.remote.failures import UNREACHABLE, FetchFailed, Transient
from deployments.batch_server.remote.guard import AddressGuard
from deployments.batch_server.remote.targets import Target

PIECE = 1 << 16
MAX_HEADERS = 64 * 1024
MAX_IDLE = 64
"""Connections kept for the next request."""
DRAINED = 64 * 1024
"""Longest body that is read only to use its connection again."""
AGENT = "darkroom-batch-server"


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def wire(self) -> h11.Request:
        """The head as the protocol library takes it; no cookies and no credentials but those given.

        Raises:
            FetchFailed: It holds what HTTP cannot carry.
        """
        length = [("content-length", str(len(self.body)))] if self.body else []
        fixed = [("host", self.target.authority), ("user-agent", AGENT), ("accept-encoding", "identity")]
        headers = [*fixed, *length, *self.headers]
        try:
            return h11.Request(method=self.method, target=self.target.path, headers=headers)
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise FetchFailed(UNREACHABLE, f"{self.target.shown} cannot be asked for: {error}") from None


class Arrivals(asyncio.StreamReaderProtocol):
    """Fills a stream, and knows how much has come."""

    received = 0
    """Bytes, read or not."""

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self.received += len(data)
        super().data_received(data)


class Connection:
    """One connection; every failure of it is Transient."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        arrivals: Arrivals,
        target: Target,
        read_timeout: float,
    ) -> None:
        self.origin = target.origin
        self._reader, self._writer, self._arrivals = reader, writer, arrivals
        self._taken = 0
        self._timeout = read_timeout
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self._shown = target.shown

    async def send(self, request: Request) -> h11.Response:
        """Send a request and give the head of its answer."""
        self._shown = request.target.shown
        self._writer.write(self._written(request))
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; one that is cut raises Transient."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    def rearm(self) -> bool:
        """Make ready for another request; whether that is possible.

        It is not where more has come than was asked for: that would pass for the next answer.
        """
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        if self._protocol.trailing_data != (b"", False) or self._has_unread:
            return False
        self._protocol.start_next_cycle()
        return True

    @property
    def is_spoilt(self) -> bool:
        """Whether the other side has ended it, or sent anything, while nobody used it."""
        if self._has_unread or self._reader.at_eof() or self._writer.is_closing():
            return True
        arrived = select.poll()
        arrived.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(arrived.poll(0))

    @property
    def _has_unread(self) -> bool:
        return self._arrivals.received > self._taken

    def close(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    def _written(self, request: Request) -> bytes:
        events: list[h11.Event] = [request.wire(), h11.EndOfMessage()]
        if request.body:
            events.insert(1, h11.Data(data=request.body))
        return b"".join(self._protocol.send(event) or b"" for event in events)

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(self._timeout):
                    piece = await self._reader.read(PIECE)
                self._taken += len(piece)
                self._protocol.receive_data(piece)
        except TimeoutError:
            raise Transient(f"{self._shown} sent nothing for {self._timeout:g} s") from None
        except h11.RemoteProtocolError:
            # The library's own words repeat what came, which may be long and is nobody's business.
            why = "the connection ended" if self._reader.at_eof() else "it is no proper HTTP answer"
            raise Transient(f"{self._shown} did not answer whole: {why}") from None
        except OSError as error:
            raise Transient(f"{self._shown}: the connection broke ({_reason(error)})") from None
        return event


@dataclass(frozen=True)
class Answer:
    """The head of an answer, and its body to be read."""

    status: int
    headers: dict[str, str] = field(repr=False)
    """With lower-case names."""
    connection: Connection = field(repr=False)

    async def drain(self) -> None:
        """Read a short body that nobody wants."""
        size = 0
        async for piece in self.connection.pieces():
            size += len(piece)
            if size > DRAINED:
                return


class ConnectionPool:
    """Makes requests; connections are shared by scheme, host and port."""

    def __init__(self, guard: AddressGuard, connect_timeout: float, read_timeout: float) -> None:
        self.guard = guard
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._idle: deque[Connection] = deque()
        self._context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request; redirects are not followed.

        Raises:
            UnsafeUrl: The address may not be connected to.
            Transient: There is no answer, or it breaks off.
            FetchFailed: The other side cannot show that it is who it should be.
        """
        connection, head = await self._begin(request)
        try:
            yield Answer(head.status_code, _headers(head), connection)
        except FetchFailed:
            self._release(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._release(connection)

    def close_idle(self) -> None:
        """End the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    async def _begin(self, request: Request) -> tuple[Connection, h11.Response]:
        used = self._take_idle(request.target)
        if used is not None:
            # The other side may have ended it this very moment.
            with suppress(Transient):
                return used, await _send(used, request)
        connection = await self._connect(request.target)
        return connection, await _send(connection, request)

    def _take_idle(self, target: Target) -> Connection | None:
        for connection in reversed(self._idle):
            if connection.origin == target.origin:
                self._idle.remove(connection)
                if not connection.is_spoilt:
                    return connection
                connection.close()
                return self._take_idle(target)
        return None

    def _release(self, connection: Connection) -> None:
        if not connection.rearm():
            connection.close()
            return
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft().close()

    async def _connect(self, target: Target) -> Connection:
        failure = None
        for address in await self.guard.addresses(target):
            try:
                async with asyncio.timeout(self._connect_timeout):
                    return await self._open(target, address)
            except ssl.SSLCertVerificationError as error:
                reason = f"{target.shown}: its certificate is not good ({error.verify_message})"
                raise FetchFailed(UNREACHABLE, reason) from None
            except OSError as error:
                failure = _reason(error)
        raise Transient(f"{target.shown}: no connection ({failure})")

    async def _open(self, target: Target, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        arrivals = Arrivals(reader)
        context, name = (self._tls(), target.host) if target.scheme == "https" else (None, None)
        transport, _ = await loop.create_connection(
            lambda: arrivals, address, target.port, ssl=context, server_hostname=name
        )
        writer = asyncio.StreamWriter(transport, arrivals, reader, loop)
        return Connection(reader, writer, arrivals, target, self._read_timeout)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            # The trust store of the pipeline's own client, SSL_CERT_FILE and SSL_CERT_DIR included.
            import httpx

            self._context = httpx.create_ssl_context()
        return self._context


async def _send(connection: Connection, request: Request) -> h11.Response:
    try:
        return await connection.send(request)
    except BaseException:
        connection.close()
        raise


def _headers(head: h11.Response) -> dict[str, str]:
    """Headers by name; one that is there several times is a list, as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in head.headers:
        key, text = name.decode(), value.decode(errors="replace")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return error.strerror or type(error).__name__
