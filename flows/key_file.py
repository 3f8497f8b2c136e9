"""A key that libraries want as a file: private, and gone with the process that has written it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from tasks.core.supervisor import try_lock


class KeyFile:
    """A file that nobody else can read.

    Its process holds a lock on it, which the kernel frees however the process ends. What is not locked was left behind
    by a process that was killed, and is removed when the next file is made.

    Args:
        folder: of such files only; it is made where it is missing.
        content: the key.
    """

    def __init__(self, folder: Path, content: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        self._handle, self.path = _create(folder)
        try:
            self.path.write_text(content, encoding="utf-8")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)


def _create(folder: Path) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(prefix="key-", suffix=".json", dir=folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another process has swept it away before it was locked


def _sweep(folder: Path) -> None:
    for file in folder.iterdir():
        with suppress(OSError):  # gone by now, or another user's
            handle = os.open(file, os.O_RDWR)
            try:
                if try_lock(handle, fcntl.LOCK_EX):
                    file.unlink()
            finally:
                os.close(handle)
