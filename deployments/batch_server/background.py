"""An event loop in a thread of its own, for what the server does over the network by itself.

So requests are answered at their pace however much is fetched.
"""

import asyncio
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from typing import Any


class Background:
    """Runs services until it is stopped."""

    def __init__(self, *services: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._services = services
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._main()), name="background", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def start(self) -> None:
        """Begin; calls are possible from here on."""
        self._thread.start()
        self._ready.wait()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called in the loop soon, from any thread; without effect while nothing runs."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """Cancel the services and wait for their end."""
        if self._stopped is not None:
            self.call(self._stopped.set)
            self._thread.join()
            self._loop = self._stopped = None

    async def _main(self) -> None:
        self._stopped = stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(service()) for service in self._services]
        self._ready.set()
        await stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
