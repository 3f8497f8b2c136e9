"""Parts of batches on disk: those that were chosen are in sight, others are put by.

Only one batch is shown at a time, and of it only the parts that were chosen, so that whatever reads the folder reads
the chosen results. What another choice has brought is moved aside, as the service may not have it any more; folders
are moved by rename, so that nothing is copied and a kill leaves each at one place or the other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from tasks.core.errors import local_fault
from tasks.core.files import sync_folder


class Shelf:
    """The folders of parts.

    Args:
        shown: holds a folder for each part that is in sight; made when missing.
        aside: holds a folder for each batch, with its parts that are put by.
    """

    def __init__(self, shown: Path, aside: Path) -> None:
        self._shown = shown
        self._aside = aside

    def clear(self, batch: str, parts: Collection[str] = ()) -> None:
        """Puts by what is in sight of ``batch``, except these parts.

        Raises:
            LocalFault: the folders cannot be written.
        """
        try:
            for part in sorted(_folders(self._shown) - set(parts)):
                self._move(self._shown, self._place(batch), part)
        except OSError as error:
            raise local_fault(error) from error

    def show(self, batch: str, parts: Collection[str]) -> None:
        """Brings these parts of ``batch`` into sight, in new folders where nothing is there yet.

        Raises:
            LocalFault: the folders cannot be written.
        """
        try:
            for part in sorted(_folders(self._place(batch)) & set(parts)):
                self._move(self._place(batch), self._shown, part)
            for part in parts:
                (self._shown / part).mkdir(parents=True, exist_ok=True)
            sync_folder(self._shown)
            sync_folder(self._shown.parent)
        except OSError as error:
            raise local_fault(error) from error

    def _place(self, batch: str) -> Path:
        # An id comes from a service, so it is no path yet.
        return self._aside / hashlib.sha256(batch.encode(errors="replace")).hexdigest()[:16]

    def _move(self, source: Path, target: Path, part: str) -> None:
        target.mkdir(parents=True, exist_ok=True)
        (source / part).rename(target / part)
        for folder in (target, source):
            sync_folder(folder)


def _folders(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
