"""Where a dataset is written: a folder, or an archive that is written as a stream.

Nothing is written outside: every name goes through :func:`~tasks.transfer.unpack.safe_name`. An archive's entries
bear no time of their own and come in the order of the images, so equal datasets give equal archives.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from tasks.core.errors import BadInput
from tasks.transfer.unpack import safe_name

_MODE = 0o644
_PACKED = frozenset({".jpg", ".jpeg", ".png", ".webp", ".jp2"})
"""What is stored as it is: packing it again gains nothing."""


class Target(ABC):
    """Takes the files of one dataset; a context manager that closes what it opened.

    Args:
        place: the folder or archive to make.
        scratch: an empty folder for files that are not part of the dataset.
    """

    def __init__(self, place: Path, scratch: Path) -> None:
        self.place = place
        self.files = 0
        """Files of the dataset so far; one that is streamed counts when it ends."""
        self.bytes = 0
        """Bytes in them; links have none."""
        self._scratch = scratch
        self._scratched = 0
        self._streams: list[tuple[str, Path, IO[str]]] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def scratch(self) -> Path:
        """A path for a file that is not part of the dataset, or not yet."""
        self._scratched += 1
        return self._scratch / str(self._scratched)

    def spool(self) -> IO[str]:
        """An empty text file that is not part of the dataset, to be written and read again."""
        return self._opened(self.scratch(), "w+")

    def stream(self, name: str) -> IO[str]:
        """A file to write to a bit at a time, without newline translation; it joins the dataset at its end."""
        path = self.scratch()
        file = self._opened(path, "w")
        self._streams.append((safe_name(name), path, file))
        return file

    def finish_streams(self) -> None:
        """Ends the files that :meth:`stream` gave."""
        for name, path, file in self._streams:
            file.close()
            self.put(name, path)
        self._streams = []

    def write(self, name: str, text: str) -> None:
        """Writes a file as UTF-8.

        Args:
            name: path in the dataset, with slashes.
            text: its content.
        """
        data = text.encode()
        self._write(safe_name(name), data)
        self._count(len(data))

    def put(self, name: str, path: Path) -> None:
        """Takes a file of :meth:`scratch` into the dataset; it is gone from there."""
        size = path.stat().st_size
        self._put(safe_name(name), path)
        self._count(size)

    @abstractmethod
    def link(self, name: str, path: Path) -> None:
        """Makes a symbolic link to a file of this machine.

        Raises:
            BadInput: a dataset of this kind cannot hold links.
        """

    @abstractmethod
    def _write(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _put(self, name: str, path: Path) -> None: ...

    def _count(self, size: int) -> None:
        self.files += 1
        self.bytes += size

    def _opened(self, path: Path, mode: str) -> IO[str]:
        return self._open.enter_context(path.open(mode, encoding="utf-8", newline=""))


class FolderTarget(Target):
    """A folder of files."""

    def __init__(self, place: Path, scratch: Path) -> None:
        super().__init__(place, scratch)
        self._folders: set[Path] = set()
        place.mkdir()

    def link(self, name: str, path: Path) -> None:
        """Makes a symbolic link to a file of this machine."""
        self._at(safe_name(name)).symlink_to(path)
        self._count(0)

    def _write(self, name: str, data: bytes) -> None:
        self._at(name).write_bytes(data)

    def _put(self, name: str, path: Path) -> None:
        path.replace(self._at(name))

    def _at(self, name: str) -> Path:
        path = self.place / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        return path


class ZipTarget(Target):
    """One archive."""

    def __init__(self, place: Path, scratch: Path) -> None:
        super().__init__(place, scratch)
        self._zip = self._open.enter_context(ZipFile(place, "w"))

    def link(self, name: str, path: Path) -> None:  # noqa: ARG002
        """Refuses: a link would lead nowhere on another machine."""
        raise BadInput("images cannot be linked in an archive: ask for copies, or do without the archive")

    def _write(self, name: str, data: bytes) -> None:
        self._zip.writestr(_entry(name), data)

    def _put(self, name: str, path: Path) -> None:
        entry = _entry(name)
        entry.file_size = path.stat().st_size
        with path.open("rb") as source, self._zip.open(entry, "w") as packed:
            shutil.copyfileobj(source, packed)
        path.unlink()


def measure(place: Path, left_out: str) -> tuple[int, int]:
    """Files and bytes of a dataset as it lies there, to be compared with what its target counted.

    Args:
        place: its folder or archive.
        left_out: name of a file that does not count.

    Raises:
        BadZipFile: the archive is damaged.
    """
    files = total = 0
    for name, size in _folder_sizes(place, "") if place.is_dir() else _archive_sizes(place):
        if name != left_out:
            files, total = files + 1, total + size
    return files, total


def _folder_sizes(folder: Path | str, inside: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _folder_sizes(entry.path, f"{inside}{entry.name}/")
            else:
                size = 0 if entry.is_symlink() else entry.stat(follow_symlinks=False).st_size
                yield inside + entry.name, size


def _archive_sizes(place: Path) -> Iterator[tuple[str, int]]:
    with ZipFile(place) as archive:
        yield from ((entry.filename, entry.file_size) for entry in archive.infolist())


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name)
    entry.compress_type = ZIP_STORED if Path(name).suffix.lower() in _PACKED else ZIP_DEFLATED
    entry.external_attr = _MODE << 16
    return entry
