"""Places by their kind, each opened when it is first asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.emulators.clouds import AZURITE, open_azure, open_gcs, open_s3
from tests.emulators.files import open_local, open_sftp
from tests.emulators.places import Place

CLOUDS = ("s3", "gcs", "azure")
KINDS = ("local", "sftp", *CLOUDS)
NO_NPM = "npm is not installed, and the Azure emulator needs it"
VARIABLES = ("AWS_", "AZURE_STORAGE_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST", "DARKROOM_SFTP_")

_OPENERS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    "local": open_local,
    "sftp": open_sftp,
    "s3": open_s3,
    "gcs": open_gcs,
    "azure": open_azure,
}


class Pool:
    """The places of one session; closed, it may be used anew."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._open = ExitStack()

    def place(self, kind: str) -> Place:
        """The place of this kind, opened on first use and empty."""
        if kind in self._places:
            self._places[kind].clear()
        else:
            folder = Path(self._open.enter_context(TemporaryDirectory(prefix=f"darkroom-{kind}-")))
            self._places[kind] = self._open.enter_context(opened(kind, folder))
        return self._places[kind]

    def close(self) -> None:
        """Ends all servers."""
        self._places.clear()
        self._open.close()


POOL = Pool()
"""One a process, whoever imports the fixtures."""


def opened(kind: str, folder: Path) -> AbstractContextManager[Any]:
    """A place of one of :data:`KINDS`, for as long as the block lasts.

    Args:
        kind: which.
        folder: an existing folder for what it keeps on disk, used by it alone.
    """
    return _OPENERS[kind](folder)


def cannot_run(kind: str) -> str:
    """Why this kind of place cannot be had on this machine; empty where it can."""
    return NO_NPM if kind == "azure" and not AZURITE.exists() and not shutil.which("npm") else ""


def foreign_variables() -> list[str]:
    """The variables of this process's environment that lead to a store, those of the machine's user included."""
    return [name for name in os.environ if name.startswith(VARIABLES)]
