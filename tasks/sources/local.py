"""A folder on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.patterns import Selection

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True)
class _Folder:
    """A folder on the way down: where it is, what its keys begin with, and which folders are not entered below it."""

    path: Path
    prefix: str
    barred: tuple[Identity, ...]


class LocalSource:
    """The files below a folder, at any depth; links are followed, and a link that leads back up ends there.

    Args:
        folder: the root.
        left_out: folders that are not listed though they lie below it: the pipeline's own output.
        selection: which keys below the folder belong to the source; all of them by default.
        named: how the user names the source; the folder by default.

    Raises:
        BadInput: there is no such folder, or it cannot be read.
    """

    is_local = True

    def __init__(
        self, folder: Path, left_out: Iterable[Path] = (), selection: Selection | None = None, named: str = ""
    ) -> None:
        if not folder.exists():
            raise BadInput(f"source folder {folder} does not exist: name a folder that holds images")
        if not folder.is_dir():
            raise BadInput(f"source {folder} is not a folder: name the folder that holds the images")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise BadInput(f"source folder {folder} may not be read: change its permissions")
        self.root = folder.resolve()
        self._left_out = frozenset(path.resolve() for path in left_out)
        if self.root in self._left_out:
            raise BadInput(f"source folder {folder} is where the results go: put the images in a folder of their own")
        self.url = named or str(folder)
        self.by_extension = selection is None or selection.by_extension
        self._selection = selection

    def check(self) -> None:
        """Nothing is left to look at: the folder was there when this was made."""

    def list(self) -> Iterator[MediaObject]:
        """Every regular file, in the order of the keys within each folder.

        A folder or file that vanishes or may not be read meanwhile is left out by the operating system's answer for
        that entry only; a file that may not be opened is found when staging looks inside it.
        """
        left_out = [_identity(path.stat()) for path in self._left_out if path.exists()]
        walk = [self._entries(_Folder(self.root, "", (*left_out, _identity(self.root.stat()))))]
        while walk:  # a stack of our own: folders may lie deeper than Python's
            entry = next(walk[-1], None)
            if entry is None:
                walk.pop()
            elif isinstance(entry, _Folder):
                if self._selection is None or self._selection.leads_into(entry.prefix):
                    walk.append(self._entries(entry))
            elif self._selection is None or self._selection.matches(entry.key):
                yield entry

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The file's bytes from ``offset`` on.

        Raises:
            SourceChanged: it vanished, or its size or time differ from what was listed.
        """
        try:
            file = (self.root / item.key).open("rb")
            status = os.fstat(file.fileno())
        except OSError as error:
            raise SourceChanged(f"cannot be read any more: {error.strerror}") from error
        if (status.st_size, _modified(status)) != (item.size, item.modified):
            file.close()
            raise SourceChanged("changed after it was staged")
        file.seek(offset)
        return file

    def _entries(self, folder: _Folder) -> Iterator[MediaObject | _Folder]:
        try:
            names = sorted(os.listdir(folder.path))  # noqa: PTH208 - a million names as str, not as Path
        except OSError:
            return
        for name in names:
            path = folder.path / name
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield MediaObject(folder.prefix + name, status.st_size, None, _modified(status))
            elif stat.S_ISDIR(status.st_mode) and _identity(status) not in folder.barred:
                yield _Folder(path, f"{folder.prefix}{name}/", (*folder.barred, _identity(status)))


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _modified(status: os.stat_result) -> datetime | None:
    """Microseconds, rounded down: what parquet and ``datetime`` can both hold; ``None`` for a time beyond year 9999."""
    seconds, rest = divmod(status.st_mtime_ns // 1000, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except (OverflowError, ValueError, OSError):
        return None
