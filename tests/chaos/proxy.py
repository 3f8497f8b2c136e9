"""A reverse proxy on loopback that breaks calls by a seeded plan, or kills the process under test at one.

The client's ``Host`` goes through unchanged, so a server that builds signed URLs from it points back at the
proxy, and the bytes behind those URLs come through here as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

import h11

from tests.chaos.exchange import CutHere, Exchange
from tests.chaos.peer import CHUNK_BYTES, Peer
from tests.chaos.plan import (
    CUTS,
    NO_FAULTS,
    Call,
    FaultPlan,
    KillAt,
    Matching,
    Moment,
    anything,
    nothing,
)

START_SECONDS = 10.0
STOP_SECONDS = 10.0
MAX_CONNECTIONS = 256
SIGNING_PARAMETERS = ("signature", "X-Amz-Signature", "X-Goog-Signature", "sig")


class FaultProxy:
    """Runs in a thread of its own between ``with`` and its end.

    Args:
        upstream: the server's base URL, ``http://host:port``.
        plan: the faults to deal out; it may be replaced between runs.
        keeps: the calls whose requests' bodies are kept.
    """

    def __init__(self, upstream: str, plan: FaultPlan = NO_FAULTS, keeps: Matching = nothing) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.plan = plan
        self.killed = threading.Event()
        """That of the last kill that was armed: set once it has happened and the process is dead."""
        self.problems: list[str] = []
        """What the proxy itself did wrong: empty after a sound run."""
        self.signatures: set[str] = set()
        """Those of all signed URLs and signed requests that ever came; secrets."""
        self.bodies: list[bytearray] = []
        """Those of the requests that are to be kept, as far as they came."""
        self._keeps = keeps
        self._calls: list[Call] = []
        self._in_a_row: Counter[tuple[str, str]] = Counter()
        self._kill: KillAt | None = None
        self._kill_countdown = 0
        self._lock = threading.Lock()
        self._connections: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._port = 0

    @property
    def url(self) -> str:
        """Where clients find the proxy."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """A copy of what happened so far, in the order in which the calls came."""
        with self._lock:
            return [replace(call) for call in self._calls]

    def completed(self, method: str, matching: Matching = anything) -> Counter[str]:
        """How often the upstream carried out calls with this method, by path."""
        return Counter(
            call.path
            for call in self.calls
            if call.method == method and call.done_upstream and matching(method, call.path)
        )

    def arm(self, kill: KillAt | None) -> None:
        """Sets the next kill, or takes it back."""
        with self._lock:
            self._kill, self._kill_countdown = kill, kill.index if kill else 0
            if kill:
                self.killed = kill.killed

    def forget(self) -> None:
        """Drops the record and starts the plan's sequence anew; for use while no call is under way."""
        with self._lock:
            self._calls.clear()
            self._in_a_row.clear()

    def __enter__(self) -> FaultProxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError("the fault proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError("the fault proxy did not stop")

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()
        await self._loop.shutdown_default_executor()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(Peer(h11.SERVER, reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.problems.append(repr(error))

    async def _connection(self, client: Peer) -> None:
        try:
            async with self._room:
                while isinstance(request := await client.event(patient=True), h11.Request):
                    if not await self._handle(client, request):
                        break
                    client.http.start_next_cycle()
        except (OSError, h11.ProtocolError):
            client.reset()  # the client went away between calls, or speaks something else
        finally:
            await client.close()

    async def _handle(self, client: Peer, request: h11.Request) -> bool:
        """Serves one call; says whether the connection can take another."""
        call, kill = self._open(request, client.number)
        cut = kill.moment if kill else CUTS.get(call.fault) if call.fault else None
        exchange = Exchange(client, lambda: Peer.connect(*self._upstream), call, cut, self._keeper(call))
        try:
            await exchange.run(request)
        except CutHere:
            if kill:
                call.killed = exchange.cut
                await self._carry_out(kill)
            await self._break(client, exchange.cut)
            return False
        except (OSError, h11.ProtocolError) as error:
            call.error = repr(error)
            client.reset()
            return False
        return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE

    def _keeper(self, call: Call) -> Callable[[bytes], None]:
        if not self._keeps(call.method, call.path):
            return lambda _data: None
        self.bodies.append(body := bytearray())
        return body.extend

    async def _carry_out(self, kill: KillAt) -> None:
        await asyncio.to_thread(kill.carry_out)

    async def _break(self, client: Peer, moment: Moment | None) -> None:
        if moment is Moment.MID_RESPONSE:
            await client.close()  # a reset could take back the half that has been sent
        else:
            client.reset()

    def _open(self, request: h11.Request, connection: int) -> tuple[Call, KillAt | None]:
        target = urlsplit(request.target.decode())
        method, path = request.method.decode(), target.path
        with self._lock:
            self.signatures.update(signatures_of(request))
            call = Call(len(self._calls), method, path, connection)
            self._calls.append(call)
            if kill := self._due_kill(method, path):
                return call, kill
            if (fault := self.plan.draw(call.index)) and self.plan.matching(method, path):
                call.fault = fault if self._in_a_row[method, path] < self.plan.max_in_a_row else None
            self._in_a_row[method, path] = self._in_a_row[method, path] + 1 if call.fault else 0
            return call, None

    def _due_kill(self, method: str, path: str) -> KillAt | None:
        if self._kill is None or not self._kill.matching(method, path):
            return None
        self._kill_countdown -= 1
        if self._kill_countdown >= 0:
            return None
        kill, self._kill = self._kill, None
        return kill


def signatures_of(request: h11.Request) -> Iterator[str]:
    """What signs a request: this project's, Amazon's, Google's or Azure's way in its URL, Amazon's in its headers."""
    query = parse_qs(urlsplit(request.target.decode()).query)
    for name in SIGNING_PARAMETERS:
        yield from query.get(name, ())
    authorization = dict(request.headers).get(b"authorization", b"").decode()
    if signature := authorization.partition(" Signature=")[2]:
        yield signature


@contextlib.contextmanager
def armed(proxy: FaultProxy, kill: KillAt) -> Iterator[FaultProxy]:
    """The proxy with a kill that is taken back at the end if it has not happened."""
    proxy.arm(kill)
    try:
        yield proxy
    finally:
        proxy.arm(None)
