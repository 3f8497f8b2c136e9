"""Secrets by the names of Prefect's blocks: parameters, run folders and commands hold the name, and nothing else.

A platform's key comes from a block :class:`~tasks.blocks.RoboflowPlatform`, credentials for buckets from one of the
blocks of prefect-aws, prefect-gcp and prefect-azure. Both are read when they are needed, from Prefect's server.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flows.key_file import KeyFile
from flows.storage_blocks import BLOCKS, GOOGLE_FILE, PACKAGES, StorageLogin, login_of
from tasks.core.errors import BadInput
from tasks.core.settings import load_settings
from tasks.named_blocks import read_block

KEY_FILES = "credentials"
"""Folder in DARKROOM_HOME for what the cloud libraries want as a file, while it is in use."""


@contextmanager
def storage_credentials(name: str) -> Iterator[None]:
    """Has the cloud libraries find what a block holds, for the length of the ``with`` statement.

    They look into the environment, which is the whole process's: so one block is in force at a time.

    Args:
        name: type and name of the block, such as ``aws-credentials/mine``. Empty: nothing is changed.

    Raises:
        BadInput: there is no such block, it cannot be used, or another one is in force.
        DarkroomError: Prefect's server does not answer, or refuses to tell.
    """
    if not name:
        yield
        return
    _ENVIRONMENT.enter(name)
    try:
        yield
    finally:
        _ENVIRONMENT.leave()


def storage_login(name: str) -> StorageLogin:
    """What the block of this name holds.

    Raises:
        BadInput: there is no such block, or it cannot be used.
        DarkroomError: Prefect's server does not answer, or refuses to tell.
    """
    kind, _, block = name.partition("/")
    if kind not in BLOCKS or not block:
        known = ", ".join(f"{known}/NAME" for known in BLOCKS)
        raise BadInput(f"{name!r} names no block with storage credentials: write one of {known}")
    document = read_block(kind, block)
    if document is None:
        raise BadInput(
            f"Prefect has no block {name}: make it in Prefect's UI, under Blocks (where that does not offer {kind}, "
            f"`pip install {PACKAGES[kind]}` and `prefect block register -m {PACKAGES[kind].replace('-', '_')}` add it)"
        )
    return login_of(name, kind, document)


class _Environment:
    """This process's environment, in which the credentials of one block at a time may be in force."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = ""
        self._users = 0
        self._before: dict[str, str | None] = {}
        self._file: KeyFile | None = None

    def enter(self, name: str) -> None:
        """Puts a block in force, or uses the one that is."""
        with self._lock:
            if not self._users:
                self._change(storage_login(name))
                self._block = name
            elif self._block != name:
                raise BadInput(
                    f"this process uses the storage credentials of {self._block}, and those of {name} would replace "
                    "them: do one after the other, or in processes of their own"
                )
            self._users += 1

    def leave(self) -> None:
        """Restores what was there before, when nobody uses the block any more."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._restore()

    def _change(self, login: StorageLogin) -> None:
        folder = load_settings().home.absolute() / KEY_FILES
        self._file = KeyFile(folder, login.google_account) if login.google_account else None
        variables = login.variables | ({GOOGLE_FILE: str(self._file.path)} if self._file else {})
        self._before = {name: os.environ.pop(name, None) for name in {*variables, *login.replaced}}
        os.environ.update(variables)

    def _restore(self) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if self._file:
            self._file.close()


_ENVIRONMENT = _Environment()
