"""The Chrome DevTools Protocol over a WebSocket: calls, and the events that pages send meanwhile.

One thread does everything: while it waits for an answer or an event, it hands out what else arrives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

LONGEST = 30.0
Event = dict[str, Any]
Listener = Callable[[str, Event], None]


class CallFailed(Exception):
    """The browser refuses a call."""


class BrowserGone(Exception):
    """The browser has ended."""


class NothingCame(AssertionError):
    """What was waited for did not come in time."""


class Connection:
    """Calls and events of one browser.

    Args:
        url: ``ws://…`` of the browser itself, not of one page.
    """

    def __init__(self, url: str) -> None:
        self._socket: ClientConnection = connect(url, max_size=None, compression=None, open_timeout=LONGEST)
        self._last = 0
        self._answers: dict[int, Event] = {}
        self._listeners: dict[str, Listener] = {}

    def listen(self, session: str, listener: Listener) -> None:
        """Has ``listener`` told each event of a session, by its method and parameters."""
        self._listeners[session] = listener

    def forget(self, session: str) -> None:
        """Tells nobody of a session's events any more."""
        self._listeners.pop(session, None)

    def call(self, method: str, session: str = "", timeout: float = LONGEST, **parameters: Any) -> Event:
        """Has the browser do something and gives its answer.

        Raises:
            CallFailed: it cannot.
            NothingCame: it does not answer within ``timeout`` seconds.
            BrowserGone: it has ended.
        """
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters}
        try:
            self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        except ConnectionClosed as error:
            raise BrowserGone(method) from error
        self.wait_until(lambda: number in self._answers, f"the answer to {method}", timeout)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise CallFailed(f"{method}: {answer['error'].get('message')}")
        return dict(answer["result"])

    def wait_until(self, done: Callable[[], bool], what: str, timeout: float = LONGEST) -> None:
        """Receives until ``done``, which is looked at after each message."""
        deadline = time.monotonic() + timeout
        while not done():
            try:
                received = self._socket.recv(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                raise NothingCame(f"waited {timeout:g} s for {what}") from None
            except ConnectionClosed as error:
                raise BrowserGone(f"while waiting for {what}") from error
            self._take(json.loads(received))

    def close(self) -> None:
        """Ends the connection, not the browser."""
        self._socket.close()

    def _take(self, message: Event) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif listener := self._listeners.get(message.get("sessionId", "")):
            listener(message["method"], message["params"])
