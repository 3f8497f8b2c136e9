"""Running the application: a socket, uvicorn, and an end without noise."""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

GRACE = 0.5
"""Seconds that requests under way are given when the server is told to stop."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept; longer than clients keep theirs, so that they never meet a closing one."""


class AddressError(Exception):
    """The server cannot listen where it was told to; says what to change."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address or name of this machine.
        port: The port; 0 takes a free one.

    Raises:
        AddressError: The port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only sockets that name TCP get TCP_NODELAY from asyncio; without it each small answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise AddressError(f"port {port} is in use: choose another with --port, or 0 for a free one") from None
        raise AddressError(f"cannot listen on {host}:{port} ({error}): change --host or --port") from None
    return listener


def address(host: str, listener: socket.socket) -> str:
    """The URL of a listening socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def serve(app: FastAPI, listener: socket.socket, ready: str) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: The application.
        listener: A socket that listens.
        ready: A line for standard output once requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # query strings hold the API key
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,  # type: ignore[arg-type]  # any number of seconds will do
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_was_not_cancelled)
    _Server(config, ready).run(sockets=[listener])


def _was_not_cancelled(record: logging.LogRecord) -> bool:
    """Whether a record tells of something else than a request that was cut off because the server stops."""
    if record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    return not record.getMessage().startswith("Cancel ")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._ready, flush=True)  # noqa: T201

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal and stay alive to end with status 0; uvicorn would raise it again."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
