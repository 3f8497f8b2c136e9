"""The receiver of notifications as an ASGI application."""

import hmac
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from deployments.batch_server.refusals import Refusal
from deployments.batch_server.routes.bodies import read_limited
from deployments.batch_server.routes.errors import add_error_handlers
from deployments.webhooks.claims import Claim, read_claim
from deployments.webhooks.settings import ReceiverSettings, Runs
from deployments.webhooks.store import EventStore
from deployments.webhooks.worker import PAUSES, Worker

MOST_BYTES = 256 * 1024
_SENDER = re.compile(r"Bearer (rf_[\x21-\x7e]+)")


class WrongToken(Refusal):
    """The address is not one that a platform was given."""

    status = 403


class UnknownSender(Refusal):
    """The request does not come from the platform, as far as its header says."""

    status = 401


def create_app(
    settings: ReceiverSettings,
    runs: Runs,
    clock: Callable[[], float] = time.time,
    pauses: tuple[float, ...] = PAUSES,
) -> FastAPI:
    """Build the application over a data folder that this process holds.

    Args:
        settings: What the receiver is set up with.
        runs: What notifications are about.
        clock: Gives the time, in seconds since the epoch.
        pauses: Seconds between tries to act on an event.

    Returns:
        An application that accepts notifications and acts on them.

    Raises:
        StoreUnusable: The database in the data folder cannot be used.
    """
    store = EventStore(settings.data / "events.sqlite3", clock)
    worker = Worker(store, runs, clock, pauses)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(worker.start)
        yield
        if await run_in_threadpool(worker.stop):
            store.close()

    # No documentation pages, and no redirects: an address holds a token.
    app = FastAPI(title="Darkroom webhook receiver", openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    add_error_handlers(app)

    @app.exception_handler(sqlite3.Error)
    def not_stored(_: Request, error: sqlite3.Error) -> JSONResponse:
        return JSONResponse({"error": f"the notification could not be stored ({error}): send it again"}, 503)

    def accept(key: str, claim: Claim) -> None:
        if store.accept(key, claim):
            worker.wake()

    @app.post("/notifications/{key}/{token}")
    async def notified(key: str, token: str, request: Request) -> dict[str, str]:
        """Keep what is notified, and answer; acting on it comes later."""
        if not runs.allows(key, token):
            raise WrongToken("no platform was given this address")
        if not _is_sender(request.headers.get("authorization", ""), settings.publishable_key):
            raise UnknownSender("the Authorization header does not hold the platform's publishable key")
        body = await read_limited(request, MOST_BYTES, "the notification")
        await run_in_threadpool(accept, key, read_claim(body, runs.job_of(key)))
        return {"status": "accepted"}

    @app.get("/health")
    def health() -> dict[str, str | int]:
        """Whether requests are answered, and how many events wait."""
        return {"status": "ok", "pending": store.pending()}

    return app


def _is_sender(authorization: str, key: SecretStr | None) -> bool:
    found = _SENDER.fullmatch(authorization)
    if found is None:
        return False
    return key is None or hmac.compare_digest(found[1].encode(), key.get_secret_value().encode())
