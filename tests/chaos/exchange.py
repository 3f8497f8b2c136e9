"""One call on its way through the proxy: there and back, bodies as streams, broken where the plan says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import h11

from tests.chaos.peer import Peer, end_to_end, length_of
from tests.chaos.plan import ANSWERS, Answer, Call, Fault, Moment

Connect = Callable[[], Coroutine[Any, Any, Peer]]

RESETS = {Moment.MID_REQUEST_BODY: Moment.BEFORE_FORWARD, Moment.MID_RESPONSE: Moment.AFTER_UPSTREAM_ANSWER}
"""What a cut becomes when there is no body to cut."""
FAULT_AT = {Moment.BEFORE_FORWARD: Fault.RESET_BEFORE, Moment.AFTER_UPSTREAM_ANSWER: Fault.RESET_AFTER}


def quoting(request: h11.Request) -> bytes:
    """An error body that shows the URL of the request, whole and from its path on."""
    target, host = request.target.decode(), dict(request.headers)[b"host"].decode()
    return json.dumps({"error": f"cannot serve {target}, asked for as http://{host}{target}"}).encode()


class CutHere(Exception):
    """The call has come to the moment at which it is to be broken."""


class Exchange:
    """Takes one call from a client to the upstream and the answer back.

    Args:
        client: who calls.
        connect: reaches the upstream.
        call: the record of it.
        cut: where it is broken.
        keep: given the request's body as it comes from the client.
    """

    def __init__(
        self, client: Peer, connect: Connect, call: Call, cut: Moment | None, keep: Callable[[bytes], None]
    ) -> None:
        self._keep = keep
        self._client = client
        self._connect = connect
        self._call = call
        self.cut = cut
        """Where the call is broken: given at the start, then adjusted to the bodies that there are."""

    async def run(self, request: h11.Request) -> None:
        """Sees the call through.

        Raises:
            CutHere: the moment of the cut has come; the connection to the upstream is closed by then.
            OSError, h11.RemoteProtocolError: the client or the upstream went away.
        """
        self._settle(Moment.MID_REQUEST_BODY, length_of(request))
        self._maybe_cut(Moment.BEFORE_FORWARD)
        answer = ANSWERS.get(self._call.fault) if self._call.fault else None
        if answer and answer.repeats_url:
            answer = replace(answer, body=quoting(request))
        if answer and not answer.forwarded:
            await self._client.drain()
            await self._answer(answer)
            return
        upstream = await self._connect()
        try:
            await self._both_ways(request, upstream, answer)
        finally:
            await upstream.close()

    async def _both_ways(self, request: h11.Request, upstream: Peer, answer: Answer | None) -> None:
        there = asyncio.create_task(self._forward_request(request, upstream))
        back = asyncio.create_task(self._forward_response(request, upstream, answer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in (there, back):
                task.cancel()
            outcomes = await asyncio.gather(there, back, return_exceptions=True)
        # A cut explains the errors that it caused on the other way, so it goes first.
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        for error in sorted(errors, key=lambda error: not isinstance(error, CutHere)):
            raise error

    async def _forward_request(self, request: h11.Request, upstream: Peer) -> None:
        target = h11.Request(
            method=request.method,
            target=request.target,
            headers=[*end_to_end(request.headers.raw_items()), (b"Connection", b"close")],
        )
        gate = self._gate(Moment.MID_REQUEST_BODY, length_of(request))
        listening = await self._offer(upstream, target)
        while isinstance(event := await self._client.event(), h11.Data):
            # An upstream may answer and hang up early: the client is heard to the end all the same.
            self._keep(event.data)
            part, last = gate(event.data)
            listening = listening and await self._offer(upstream, h11.Data(data=part))
            self._call.sent += len(part) if listening else 0
            if last:
                raise CutHere
        if listening:
            await self._offer(upstream, h11.EndOfMessage())

    async def _offer(self, upstream: Peer, event: h11.Event) -> bool:
        try:
            await upstream.send(event)
        except (OSError, h11.LocalProtocolError):
            return False
        return True

    async def _forward_response(self, request: h11.Request, upstream: Peer, answer: Answer | None) -> None:
        while isinstance(head := await upstream.event(), h11.InformationalResponse):
            pass
        if not isinstance(head, h11.Response):
            raise ConnectionResetError("the upstream closed the connection without an answer")
        self._call.status = head.status_code
        self._settle(Moment.MID_RESPONSE, 0 if request.method == b"HEAD" else length_of(head))
        if answer or self.cut is Moment.AFTER_UPSTREAM_ANSWER:
            await upstream.drain()
            self._maybe_cut(Moment.AFTER_UPSTREAM_ANSWER)
        await (self._answer(answer) if answer else self._relay(head, upstream))

    async def _relay(self, head: h11.Response, upstream: Peer) -> None:
        self._call.answered = head.status_code
        headers = end_to_end(head.headers.raw_items())
        await self._client.send(h11.Response(status_code=head.status_code, headers=headers, reason=head.reason))
        gate = self._gate(Moment.MID_RESPONSE, length_of(head))
        while isinstance(event := await upstream.event(), h11.Data):
            part, last = gate(event.data)
            self._call.received += len(part)
            await self._client.send(h11.Data(data=part))
            if last:
                raise CutHere
        await self._client.send(h11.EndOfMessage())

    async def _answer(self, answer: Answer) -> None:
        self._call.answered = answer.status
        own = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        await self._client.send(h11.Response(status_code=answer.status, headers=[*own, *answer.headers]))
        with contextlib.suppress(h11.LocalProtocolError):  # an answer to HEAD has no body
            await self._client.send(h11.Data(data=answer.body))
        await self._client.send(h11.EndOfMessage())

    def _settle(self, moment: Moment, length: int | None) -> None:
        if self.cut is not moment or length != 0:
            return
        self.cut = RESETS[moment]
        if self._call.fault:
            self._call.fault = FAULT_AT[self.cut]

    def _maybe_cut(self, moment: Moment) -> None:
        if self.cut is moment:
            raise CutHere

    def _gate(self, moment: Moment, length: int | None) -> Callable[[bytes], tuple[bytes, bool]]:
        """Lets half of a body through: of all of it where its length is known, else of its first piece."""
        left = length // 2 if length is not None else None

        def pass_on(data: bytes) -> tuple[bytes, bool]:
            nonlocal left
            if self.cut is not moment:
                return data, False
            left = len(data) // 2 if left is None else left
            part = data[:left]
            last = len(data) > left
            left -= len(part)
            return part, last

        return pass_on
