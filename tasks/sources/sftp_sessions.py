"""SFTP sessions for several threads over one connection, made anew when it breaks."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.sources.sftp_login import LOGIN_SECONDS, Login, connect
from tasks.sources.sftp_protocol import Session

ANSWER_SECONDS = 60.0


class Sessions:
    """Lends out sessions; connects when the first is asked for, and ends the connections together with itself.

    Args:
        login: where and how to log in.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._clients: list[paramiko.SSHClient] = []
        weakref.finalize(self, _close, self._clients)

    def take(self) -> Session:
        """A session to use alone until it is given back.

        Raises:
            BadInput: the server cannot be used as things are set.
            ConnectionFailed: it cannot be reached just now.
        """
        with self._lock:
            while self._idle:
                session = self._idle.pop()
                if session.is_open:
                    return session
            return self._begin()

    def give(self, session: Session) -> None:
        """Takes a session back."""
        if session.is_open:
            with self._lock:
                self._idle.append(session)

    @contextmanager
    def borrowed(self) -> Iterator[Session]:
        """A session for as long as the block lasts."""
        session = self.take()
        try:
            yield session
        finally:
            self.give(session)

    def _begin(self) -> Session:
        """A new session on a connection that takes one more; servers limit how many they take."""
        for client in list(self._clients):
            try:
                return self._on(client)
            except paramiko.ChannelException:
                continue
            except (paramiko.SSHException, EOFError, OSError):
                self._clients.remove(client)
                client.close()
        client = connect(self._login)
        self._clients.append(client)
        try:
            return self._on(client)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionFailed(f"{self._login.place} opens no session after the log-in: {error}") from error

    def _on(self, client: paramiko.SSHClient) -> Session:
        channel = client.get_transport().open_session(timeout=LOGIN_SECONDS)
        channel.settimeout(ANSWER_SECONDS)
        try:
            channel.invoke_subsystem("sftp")
        except paramiko.SSHException:
            channel.close()
            if client.get_transport().is_active():
                raise BadInput(
                    f"{self._login.place} is an SSH server without SFTP: ask its owner to allow it"
                ) from None
            raise
        return Session(channel, self._login.place)


def _close(clients: list[paramiko.SSHClient]) -> None:
    while clients:
        clients.pop().close()
