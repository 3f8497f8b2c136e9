"""Secrets by the names of Prefect's blocks: parameters, run folders and commands hold the name, and nothing else.

A platform's key comes from a block :class:`~tasks.blocks.RoboflowPlatform`, credentials for buckets from one of the
blocks of prefect-aws, prefect-gcp and prefect-azure. Both are read when they are needed, from Prefect's server.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import ValidationError

from flows.storage_blocks import BLOCKS, GOOGLE_FILE, PACKAGES, StorageLogin, login_of
from tasks.blocks import RoboflowPlatform
from tasks.core.errors import BadInput, ConnectionFailed
from tasks.core.settings import PlatformLogin, Settings, load_settings


def flow_settings() -> Settings:
    """The settings of this process, which know what blocks hold.

    Raises:
        BadInput: a variable has a value that cannot be used.
    """
    return load_settings().with_blocks(platform_login)


def platform_login(name: str) -> PlatformLogin:
    """The login that the Roboflow Platform block of this name holds.

    Raises:
        BadInput: there is no such block, or it cannot be used.
        ConnectionFailed: Prefect's server does not answer.
    """
    document = _read_block(RoboflowPlatform.get_block_type_slug(), name)
    if document is None:
        raise BadInput(
            f"Prefect has no Roboflow Platform block named {name!r}: make it with darkroom setup --block {name}, "
            "or in Prefect's UI, under Blocks"
        )
    try:
        return RoboflowPlatform.model_validate(document).login()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise BadInput(f"block {name} cannot be used ({problem['loc'][0]}: {problem['msg']}): correct it") from None


@contextmanager
def storage_credentials(name: str) -> Iterator[None]:
    """Has the cloud libraries find what a block holds, for the length of the ``with`` statement.

    They look into the environment, which is the whole process's: so one block is in force at a time.

    Args:
        name: type and name of the block, such as ``aws-credentials/mine``. Empty: nothing is changed.

    Raises:
        BadInput: there is no such block, it cannot be used, or another one is in force.
        ConnectionFailed: Prefect's server does not answer.
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
        ConnectionFailed: Prefect's server does not answer.
    """
    kind, _, block = name.partition("/")
    if kind not in BLOCKS or not block:
        known = ", ".join(f"{known}/NAME" for known in BLOCKS)
        raise BadInput(f"{name!r} names no block with storage credentials: write one of {known}")
    document = _read_block(kind, block)
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
        self._file: Path | None = None

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
        self._file = _private_file(login.google_account) if login.google_account else None
        variables = login.variables | ({GOOGLE_FILE: str(self._file)} if self._file else {})
        self._before = {name: os.environ.pop(name, None) for name in {*variables, *login.replaced}}
        os.environ.update(variables)

    def _restore(self) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if self._file:
            self._file.unlink(missing_ok=True)


_ENVIRONMENT = _Environment()


def _private_file(content: str) -> Path:
    """A file that nobody else can read."""
    handle, name = tempfile.mkstemp(prefix="darkroom-", suffix=".json")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return Path(name)


def _read_block(kind: str, name: str) -> dict[str, Any] | None:
    """The content of a block, secrets included, or ``None`` where there is none of that name."""
    try:
        with get_client(sync_client=True) as client:
            return dict(client.read_block_document_by_name(name, kind, include_secrets=True).data)
    except ObjectNotFound:
        return None
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ConnectionFailed(f"Prefect's server does not answer ({type(error).__name__})") from None
