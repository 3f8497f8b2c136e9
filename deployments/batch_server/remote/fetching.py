"""Fetching one file: redirects, limits, and tries."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
    UnknownHost,
)
from deployments.batch_server.remote.targets import Target, parse_target

REDIRECTS = {301, 302, 303, 307, 308}
TRANSIENT = {408, 429}
"""Besides all from 500 on."""
UNPACKED = {"", "identity", "aws-chunked"}
"""Encodings that leave a file as it is; the last one tells how it was once uploaded."""
PATIENCE = 32
"""Files of a host, one after the other, that all their tries brought nothing for; and so many of unknown hosts."""


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
    slow_after: float = 30.0
    """From here on a body has to keep up `least_rate`."""
    least_rate: float = 1024.0
    """Bytes a second, on the average."""
    check: float = 30.0
    """For looking up the hosts of an ingest before anything is fetched."""
    attempts: int = 4
    redirects: int = 5
    first_pause: float = 1.0
    """Doubled from try to try."""
    longest_pause: float = 60.0
    """Most that `Retry-After` can ask for."""


@dataclass
class Patience:
    """What hosts have cost so far whose files belong together, so that a dead one does not cost it for each file."""

    misses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Files of an origin, one after the other, that nothing came of."""
    unknown: Counter[str] = field(default_factory=Counter)
    """How often a host was looked up in vain."""

    def has_given_up(self, target: Target) -> bool:
        """Whether the name service has been asked in vain often enough."""
        return self.unknown[target.host] > (0 if self._is_spent else 1)

    def attempts(self, target: Target, failure: FetchFailed, usual: int) -> int:
        """How often to try after such a failure; once where nothing has come for long."""
        if isinstance(failure, UnknownHost):
            return 1 if self._is_spent or self.unknown[failure.host] else usual
        return 1 if self.misses[target.origin] >= PATIENCE else usual

    def miss(self, target: Target, failure: FetchFailed) -> None:
        """Remember that nothing came."""
        if isinstance(failure, UnknownHost):
            self.unknown[failure.host] += 1
        else:
            self.misses[target.origin] += 1

    def hit(self, target: Target) -> None:
        """Remember that the host answers."""
        self.misses.pop(target.origin, None)
        self.unknown.pop(target.host, None)

    @property
    def _is_spent(self) -> bool:
        return self.unknown.total() >= PATIENCE


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

    async def fetch(self, url: str, file: IO[bytes], largest: SizeLimit, patience: Patience) -> None:
        """Write what is at a URL into a file that is empty so far.

        Args:
            url: Where it is.
            file: Where it goes; may hold anything when this fails.
            largest: How large it may be.
            patience: What its host and others have cost so far.

        Raises:
            UnsafeUrl: The URL, or one that it redirects to, leads where this server does not go.
            FetchFailed: It is not there, refused, too large, or did not come in time and after some tries.
        """
        target = parse_target(url)
        if patience.has_given_up(target):
            raise UnknownHost(target.shown, target.host)
        try:
            async with asyncio.timeout(self._limits.whole):
                await self._persist(target, file, largest, patience)
        except TimeoutError:
            reason = f"{target.shown} did not come whole within {self._limits.whole:g} s"
            failure = FetchFailed(UNREACHABLE, reason)
        except Transient as error:
            failure = error
        else:
            patience.hit(target)
            return
        patience.miss(target, failure)
        raise failure

    async def _persist(self, target: Target, file: IO[bytes], largest: SizeLimit, patience: Patience) -> None:
        attempt = 1
        while True:
            try:
                await self._follow(target, file, largest)
                return
            except Transient as error:
                if attempt >= patience.attempts(target, error, self._limits.attempts):
                    raise
                await self._sleep(self._pause(attempt, error.retry_after))
            attempt += 1
            file.seek(0)
            file.truncate()

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
        encodings = [text.strip().lower() for text in answer.headers.get("content-encoding", "").split(",")]
        packed = ", ".join(text for text in encodings if text not in UNPACKED)
        if packed:
            raise FetchFailed(REFUSED, f"{shown} comes encoded as {packed[:20]}: store it as it is")
        size = int(answer.headers.get("content-length", 0))
        if size <= largest.size:
            size = await self._receive(answer, shown, file, largest)
        if size > largest.size:
            raise FetchFailed(TOO_LARGE, f"Max size of single {largest.what} is {largest.size}B.")

    async def _receive(self, answer: Answer, shown: str, file: IO[bytes], largest: SizeLimit) -> int:
        """Write the body until it is too large; gives its size up to there."""
        clock = asyncio.get_running_loop().time
        size, begun = 0, clock()
        async for piece in answer.connection.pieces():
            size += len(piece)
            if size > largest.size:
                break
            file.write(piece)
            seconds = clock() - begun
            if seconds > self._limits.slow_after and size < self._limits.least_rate * seconds:
                raise Transient(f"{shown} comes too slowly ({size} bytes in {seconds:.0f} s)")
        return size

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
