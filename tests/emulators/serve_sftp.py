"""An SFTP server on loopback, run by the python of ``.venv-emulators``; it shows one folder as its root."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import asyncssh  # type: ignore[import-not-found]


async def serve(port: int, folder: str, host_key: str, authorized_keys: str) -> None:
    """Serves any user who has one of the keys, until it is killed."""
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        sftp_factory=partial(asyncssh.SFTPServer, chroot=folder),
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:5]))
