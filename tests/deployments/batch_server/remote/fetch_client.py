"""A client that fetches over loopback."""

import asyncio
import io

from deployments.batch_server.remote.connections import ConnectionPool
from deployments.batch_server.remote.failures import FetchFailed
from deployments.batch_server.remote.fetching import Fetcher, FetchLimits, Patience, SizeLimit
from deployments.batch_server.remote.guard import AddressGuard, Lookup
from deployments.batch_server.remote.hosts import AllowedHosts

SMALL = SizeLimit(1000, "image")


def loopback(host: str) -> list[str]:
    return ["127.0.0.1"]


class Client:
    """A fetcher over loopback whose pauses take no time."""

    def __init__(
        self,
        *allowed: str,
        lookup: Lookup = loopback,
        limits: FetchLimits | None = None,
    ) -> None:
        limits = limits or FetchLimits()
        self.patience = Patience()
        self.pauses: list[float] = []
        guard = AddressGuard(AllowedHosts.parse(allowed or ["127.0.0.1"]), lookup, limits.connect)
        self.pool = ConnectionPool(guard, limits.connect, limits.read)
        self.fetcher = Fetcher(self.pool, limits, self._sleep, lambda: 1_000_000.0, lambda: 0.5)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def get(self, *urls: str) -> list[bytes | FetchFailed]:
        """What each URL gives, one after the other."""

        async def fetch_all() -> list[bytes | FetchFailed]:
            try:
                return [await self.try_one(url) for url in urls]
            finally:
                self.pool.close_idle()

        return asyncio.run(fetch_all())

    def failure(self, url: str) -> FetchFailed:
        (failed,) = self.get(url)
        assert isinstance(failed, FetchFailed)
        return failed

    async def try_one(self, url: str) -> bytes | FetchFailed:
        """What the URL gives."""
        file = io.BytesIO()
        try:
            await self.fetcher.fetch(url, file, SMALL, self.patience)
        except FetchFailed as failure:
            return failure
        return file.getvalue()
