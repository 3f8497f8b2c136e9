"""An SFTP server for one test, run by the python of ``.venv-emulators`` with its settings as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from typing import Any

import asyncssh  # type: ignore[import-not-found]
from asyncssh.stream import SSHServerStreamSession  # type: ignore[import-not-found]


class Server(asyncssh.SSHServer):  # type: ignore[misc]
    """One connection: lets users in by their password, and opens so many sessions."""

    def __init__(self, folder: str, passwords: dict[str, str], sessions: int) -> None:
        self.factory = partial(asyncssh.SFTPServer, chroot=folder) if folder else None
        self.passwords = passwords
        self.sessions = sessions

    def password_auth_supported(self) -> bool:
        return bool(self.passwords)

    def validate_password(self, username: str, password: str) -> bool:
        return self.passwords.get(username) == password

    def session_requested(self) -> Any:
        self.sessions -= 1
        if self.sessions < 0:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "no more sessions")
        return SSHServerStreamSession(None, self.factory, 3, False)


async def serve(port: int, host_key: str, authorized: str, **of_server: Any) -> None:
    """Serves until it is killed."""
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=authorized or None,
        server_factory=partial(Server, **of_server),
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
