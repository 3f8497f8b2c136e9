"""What goes wrong and when: faults, the seeded plan that deals them, the kill, and the record of a call."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

Matching = Callable[[str, str], bool]
"""Takes a method and a path without its query, and says whether the call is meant."""

HTML = b"<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>Sorry</h1></body></html>\n"
JSON = b'{"error": "injected by the proxy"}'


class Moment(StrEnum):
    """The four places where a call can be broken."""

    BEFORE_FORWARD = "before-forward"
    """The upstream never hears of the call."""
    MID_REQUEST_BODY = "mid-request-body"
    """The upstream gets half of the body and then the end of the connection."""
    AFTER_UPSTREAM_ANSWER = "after-upstream-answer"
    """The upstream did the work; the client never hears."""
    MID_RESPONSE = "mid-response"
    """The client gets the head and half of the body."""


class Fault(StrEnum):
    """Everything the proxy can do to a call."""

    REQUEST_TIMEOUT = "408"
    THROTTLED_NOW = "429 retry-after 0"
    THROTTLED_ONE_SECOND = "429 retry-after 1"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502 html"
    UNAVAILABLE = "503"
    UNAVAILABLE_HTML = "503 html"
    GATEWAY_TIMEOUT = "504"
    GATEWAY_TIMEOUT_AFTER = "504 after the upstream did the work"
    RESET_BEFORE = "reset before forwarding"
    RESET_AFTER = "reset after forwarding"
    REQUEST_CUT = "request body cut"
    RESPONSE_CUT = "response body cut"
    REFUSED = "400 that repeats the url"
    """For good, and with the key or the signature in its body; never dealt out unless asked for."""


SURVIVABLE = tuple(fault for fault in Fault if fault is not Fault.REFUSED)


@dataclass(frozen=True)
class Answer:
    """An answer that the proxy gives in the upstream's place."""

    status: int
    body: bytes = JSON
    headers: tuple[tuple[str, str], ...] = ()
    forwarded: bool = False
    """Whether the upstream gets the call before it is answered so."""
    repeats_url: bool = False
    """Whether the body is an error that quotes the URL as it was asked for."""

    @property
    def content_type(self) -> str:
        return "text/html" if self.body is HTML else "application/json"


ANSWERS = {
    Fault.REQUEST_TIMEOUT: Answer(408, headers=(("Connection", "close"),)),
    Fault.THROTTLED_NOW: Answer(429, headers=(("Retry-After", "0"),)),
    Fault.THROTTLED_ONE_SECOND: Answer(429, headers=(("Retry-After", "1"),)),
    Fault.SERVER_ERROR: Answer(500),
    Fault.BAD_GATEWAY: Answer(502, HTML),
    Fault.UNAVAILABLE: Answer(503),
    Fault.UNAVAILABLE_HTML: Answer(503, HTML),
    Fault.GATEWAY_TIMEOUT: Answer(504),
    Fault.GATEWAY_TIMEOUT_AFTER: Answer(504, HTML, forwarded=True),
    Fault.REFUSED: Answer(400, repeats_url=True),
}
CUTS = {
    Fault.RESET_BEFORE: Moment.BEFORE_FORWARD,
    Fault.REQUEST_CUT: Moment.MID_REQUEST_BODY,
    Fault.RESET_AFTER: Moment.AFTER_UPSTREAM_ANSWER,
    Fault.RESPONSE_CUT: Moment.MID_RESPONSE,
}


def anything(method: str, path: str) -> bool:
    """Every call is meant."""
    return True


def nothing(method: str, path: str) -> bool:
    """No call is meant."""
    return False


@dataclass(frozen=True)
class FaultPlan:
    """Deals out faults: the n-th call of two proxies with equal plans draws the same fault."""

    seed: int = 0
    share: float = 0.1
    """How many of the calls that match are hit, 0 to 1."""
    kinds: tuple[Fault, ...] = SURVIVABLE
    max_in_a_row: int = 2
    """After so many faults one after the other on one method and path, the next call there goes through."""
    matching: Matching = anything

    def draw(self, index: int) -> Fault | None:
        """The fault for the call with this number, counted from 0 over all calls."""
        rng = random.Random(f"{self.seed}/{index}")
        return rng.choice(self.kinds) if rng.random() < self.share else None


NO_FAULTS = FaultPlan(share=0.0)


@dataclass(frozen=True)
class KillAt:
    """Kills a child of this process at one call, at one moment of it."""

    child: Callable[[], subprocess.Popen[str]]
    """Asked at the moment of the kill."""
    index: int
    """Which of the matching calls since the kill was armed, counted from 0."""
    moment: Moment
    matching: Matching = anything
    killed: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set once the process is dead; its own, so that a kill that is slow to tell is not taken for the next one."""

    def carry_out(self) -> None:
        """Kills the child as ``kill -9`` does, and waits until it is dead."""
        child = self.child()
        child.kill()
        child.wait()
        self.killed.set()


@dataclass
class Call:
    """What happened to one call."""

    index: int
    method: str
    path: str
    """Without the query, which holds keys and signatures."""
    connection: int = 0
    """Which of the clients' connections it came over."""
    fault: Fault | None = None
    """What was done to it; a cut of a body that is not there is recorded as the reset that took its place."""
    killed: Moment | None = None
    """Where in the call the process under test was killed."""
    status: int | None = None
    """What the upstream answered, whether or not the client got to see it."""
    answered: int | None = None
    """What the client was told, if anything."""
    sent: int = 0
    """Bytes of the request's body that went to the upstream."""
    received: int = 0
    """Bytes of the response's body that went to the client."""
    error: str | None = None
    """Why the call ended early without the proxy's doing, as when a peer went away."""

    @property
    def done_upstream(self) -> bool:
        """Whether the upstream carried it out, known to the client or not."""
        return self.status is not None and self.status < 300
