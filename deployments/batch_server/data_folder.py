"""The server's data folder: who holds it, and the secrets kept in it."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.batch_server.blobs import flush_folder


class DataFolderError(Exception):
    """The data folder cannot be used; says in one line what to change."""


@contextmanager
def hold_data_folder(folder: Path) -> Iterator[None]:
    """Make the folder and hold it for this process alone.

    The lock is the kernel's: a killed server leaves none behind.

    Args:
        folder: The data folder; made when missing, for its owner alone.

    Yields:
        Nothing; the folder is held inside the block.

    Raises:
        DataFolderError: It cannot be written, or another server holds it.
    """
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        lock = (folder / "server.lock").open("a+")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataFolderError(
            f"cannot write in the data folder {folder} ({reason}): choose another with --data"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise DataFolderError(
                f"another server (process {holder}) uses the data folder {folder}: "
                "stop it or choose another with --data"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def kept_secret(path: Path) -> str:
    """The secret in a file of mode 0600, made up on first use.

    The file is complete from the moment it is there, so a kill while it is made leaves no half of one.

    Args:
        path: Where the secret lies.

    Returns:
        The secret, 43 URL-safe characters when this made it up.

    Raises:
        DataFolderError: The file is there and empty, so that it would let everyone in.
    """
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        flush_folder(path.parent)
    secret = path.read_text().strip()
    if not secret:
        raise DataFolderError(f"the file {path} is empty: write a secret into it or remove it")
    return secret
