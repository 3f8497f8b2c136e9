"""A folder on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject, SourceChanged


class LocalSource:
    """The files below a folder, at any depth; links are followed, and a link that leads back up ends there.

    Args:
        folder: the root.
        left_out: folders that are not listed though they lie below it: the pipeline's own output.

    Raises:
        BadInput: there is no such folder, or it cannot be read.
    """

    def __init__(self, folder: Path, left_out: Iterable[Path] = ()) -> None:
        if not folder.exists():
            raise BadInput(f"source folder {folder} does not exist: name a folder that holds images")
        if not folder.is_dir():
            raise BadInput(f"source {folder} is not a folder: name the folder that holds the images")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise BadInput(f"source folder {folder} may not be read: change its permissions")
        self.root = folder.resolve()
        self._left_out = frozenset(path.resolve() for path in left_out)
        self.url = str(folder)

    def list(self) -> Iterator[MediaObject]:
        """Every regular file, in the order of the keys within each folder.

        A folder or file that vanishes or may not be read meanwhile is left out by the operating system's answer for
        that entry only; a file that may not be opened is found when staging looks inside it.
        """
        yield from self._walk(self.root, "", (_identity(self.root.stat()),))

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

    def _walk(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[MediaObject]:
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - a million names as str, not as Path
        except OSError:
            return
        for name in names:
            path = folder / name
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield MediaObject(prefix + name, status.st_size, None, _modified(status))
            elif stat.S_ISDIR(status.st_mode) and _identity(status) not in above and path not in self._left_out:
                yield from self._walk(path, f"{prefix}{name}/", (*above, _identity(status)))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _modified(status: os.stat_result) -> datetime:
    """Microseconds, rounded down: what parquet and ``datetime`` can both hold."""
    seconds, rest = divmod(status.st_mtime_ns // 1000, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
