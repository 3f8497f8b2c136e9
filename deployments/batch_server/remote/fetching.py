"""Fetching one file: redirects, limits, and tries."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO

from deployments.batch_server.remote.connections import Answer, ConnectionPool, Request
from deployments.batch_server.remote.failures import (
    NOT_FOUND,
    REFUSED,
    TOO_LARGE,
    UNREACHABLE,
    FetchFailed,
    Transient,
)
from deployments.batch_server.remote.targets import Target, parse_target, shown_url

REDIRECTS = {301, 302, 303, 307, 308}
TRANSIENT = {408, 429}
"""Besides all from 500 on."""
PATIENCE = 32
"""Files of a host, one after the other, that all their tries brought nothing for."""


@dataclass(frozen=True)
class SizeLimit:
    """How large a file may be."""

    size: int
    """Bytes."""
    what: str
    """What the file is, for messages."""


@dataclass(frozen=True)
class FetchLimits:
    """How long and how often; times in seconds."""

    connect: float = 10.0
    read: float = 30.0
    """Longest silence."""
    whole: float = 300.0
    """For a file with everything, pauses included."""
    attempts: int = 4
    redirects: int = 5
    first_pause: float = 1.0
    """Doubled from try to try."""
    longest_pause: float = 60.0
    """Most that `Retry-After` can ask for."""


class Fetcher:
    """Fetches files with the manners of a good client."""

    def __init__(
        self,
        pool: ConnectionPool,
        limits: FetchLimits,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._limits = limits
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._misses: Counter[tuple[str, str, int]] = Counter()

    async def fetch(self, url: str, file: IO[bytes], largest: SizeLimit) -> None:
        """Write what is at a URL into a file that is empty so far.

        Args:
            url: Where it is.
            file: Where it goes; may hold anything when this fails.
            largest: How large it may be.

        Raises:
            UnsafeUrl: The URL, or one that it redirects to, leads where this server does not go.
            FetchFailed: It is not there, refused, too large, or did not come in time and after some tries.
        """
        try:
            async with asyncio.timeout(self._limits.whole):
                await self._persist(url, file, largest)
        except TimeoutError:
            reason = f"{shown_url(url)} did not come whole within {self._limits.whole:g} s"
            raise FetchFailed(UNREACHABLE, reason) from None

    async def _persist(self, url: str, file: IO[bytes], largest: SizeLimit) -> None:
        target = parse_target(url)
        attempt = 1
        while True:
            try:
                await self._follow(target, file, largest)
                break
            except Transient as error:
                if attempt >= self._attempts(target):
                    self._misses[target.origin] += 1
                    raise
                await self._sleep(self._pause(attempt, error.retry_after))
            attempt += 1
            file.seek(0)
            file.truncate()
        self._misses.pop(target.origin, None)

    def _attempts(self, target: Target) -> int:
        """How often to try; where nothing has come for long, once: the other files wait."""
        return 1 if self._misses[target.origin] >= PATIENCE else self._limits.attempts

    async def _follow(self, target: Target, file: IO[bytes], largest: SizeLimit) -> None:
        for _ in range(self._limits.redirects + 1):
            async with self._pool.exchange(Request("GET", target)) as answer:
                location = answer.headers.get("location") if answer.status in REDIRECTS else None
                if location is None:
                    await self._take(answer, target.shown, file, largest)
                    return
                await answer.drain()
            target = target.follow(location)
        raise FetchFailed(UNREACHABLE, f"{target.shown}: redirected more than {self._limits.redirects} times")

    async def _take(self, answer: Answer, shown: str, file: IO[bytes], largest: SizeLimit) -> None:
        if answer.status != 200:
            await answer.drain()
            raise self._problem(answer, shown)
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise FetchFailed(UNREACHABLE, f"{shown} comes encoded as {encoding[:20]}: store it as it is")
        size = int(answer.headers.get("content-length", 0))
        if size <= largest.size:
            size = 0
            async for piece in answer.connection.pieces():
                size += len(piece)
                if size > largest.size:
                    break
                file.write(piece)
        if size > largest.size:
            raise FetchFailed(TOO_LARGE, f"Max size of single {largest.what} is {largest.size}B.")

    def _problem(self, answer: Answer, shown: str) -> FetchFailed:
        status = answer.status
        if status in TRANSIENT or status >= 500:
            return Transient(f"{shown} answers with status {status}", self._retry_after(answer))
        if status in (404, 410):
            return FetchFailed(NOT_FOUND, f"{shown} is not there (status {status})")
        if status in (401, 403):
            return FetchFailed(REFUSED, f"{shown} is refused (status {status}): has its signature expired?")
        return FetchFailed(UNREACHABLE, f"{shown} answers with status {status}")

    def _retry_after(self, answer: Answer) -> float | None:
        text = answer.headers.get("retry-after", "")
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            return parsedate_to_datetime(text).timestamp() - self._clock()
        except (ValueError, OverflowError):
            return None

    def _pause(self, attempt: int, asked: float | None) -> float:
        backoff = self._limits.first_pause * 2.0 ** (attempt - 1) * (0.5 + self._chance())
        return min(max(backoff, asked or 0.0), self._limits.longest_pause)
