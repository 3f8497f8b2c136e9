"""The blob folder: files that are complete and on disk before anyone hears of them.

A file is written under a name of its own and counts only once a database row names it. So a kill at any
moment leaves at most a file that no row names, and :meth:`BlobFolder.sweep` removes those at the next start.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO
from uuid import uuid4

from anyio import to_thread

BUFFER = 1 << 20
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers that mean a full disk."""


@dataclass(frozen=True)
class Blob:
    """A file that was written and flushed."""

    path: str
    """Relative to the data folder."""
    size: int
    sha256: str


class BodyCut(Exception):
    """The body ended before the length it announced."""


class NewBlob:
    """A blob into which files are put one after another."""

    def __init__(self, path: Path, relative: str, file: BinaryIO) -> None:
        self._path = path
        self._relative = relative
        self._file = file
        self._size = 0
        self.is_finished = False

    def append(self, source: IO[bytes]) -> tuple[int, int]:
        """Put a whole file at the end; gives where it begins and its size."""
        offset = self._size
        source.seek(0)
        shutil.copyfileobj(source, self._file, BUFFER)
        self._size = self._file.tell()
        return offset, self._size - offset

    def finish(self) -> str:
        """Flush it, with its name, to disk; gives its path relative to the data folder."""
        self._file.flush()
        os.fsync(self._file.fileno())
        flush_folder(self._path.parent)
        self.is_finished = True
        return self._relative


class BlobFolder:
    """Writes, deletes and sweeps blobs below the data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._root = data / "blobs"
        make_folder(self._root)

    def locate(self, path: str) -> Path:
        """Where a blob lies on this machine."""
        return self._data / path

    def write(self, suffix: str, content: bytes) -> Blob:
        """Write a small blob, flushed to disk."""
        path = self._new_path(suffix)
        try:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            flush_folder(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return self._blob(path, len(content), hashlib.sha256(content).hexdigest())

    async def write_stream(self, suffix: str, body: AsyncIterator[bytes], length: int | None) -> Blob:
        """Write a blob while it arrives, in constant memory, flushed to disk.

        Args:
            suffix: End of the file's name.
            body: The pieces as they come.
            length: Bytes announced, where they were.

        Raises:
            BodyCut: Fewer or more bytes came than announced; nothing is left behind.
        """
        path = self._new_path(suffix)
        digest, size, pending = hashlib.sha256(), 0, bytearray()
        try:
            with path.open("wb") as file:

                def drain() -> None:
                    digest.update(pending)
                    file.write(pending)
                    pending.clear()

                async for piece in body:
                    pending += piece
                    size += len(piece)
                    if len(pending) >= BUFFER:
                        await to_thread.run_sync(drain)
                if length is not None and size != length:
                    raise BodyCut(f"{length} bytes were announced and {size} came")

                def finish() -> None:
                    drain()
                    file.flush()
                    os.fsync(file.fileno())
                    flush_folder(path.parent)

                await to_thread.run_sync(finish)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return self._blob(path, size, digest.hexdigest())

    def scratch(self, in_memory: int) -> SpooledTemporaryFile[bytes]:
        """A file without a name; up to so many bytes it lies in memory, then on disk."""
        return SpooledTemporaryFile(in_memory, "w+b", dir=str(self._root))

    @contextmanager
    def begin(self, suffix: str) -> Iterator["NewBlob"]:
        """A blob to fill file by file; it is gone again when the block fails or does not finish it.

        When the block is cancelled a row may name the blob or not, which only the sweep of the next start can tell.
        """
        path = self._new_path(suffix)
        with path.open("xb") as file:
            blob = NewBlob(path, str(path.relative_to(self._data)), file)
            try:
                yield blob
            except Exception:
                path.unlink(missing_ok=True)
                raise
            if not blob.is_finished:
                path.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """Remove a blob that no row names any more."""
        self.locate(path).unlink(missing_ok=True)

    def sweep(self, known: Iterable[str]) -> int:
        """Remove every blob that no row names; to be called before the first request.

        Args:
            known: Paths that rows name.

        Returns:
            How many were removed.
        """
        keep = set(known)
        orphans = [p for p in self._root.glob("*/*") if str(p.relative_to(self._data)) not in keep]
        for path in orphans:
            path.unlink()
        return len(orphans)

    def _new_path(self, suffix: str) -> Path:
        name = uuid4().hex
        # 256 folders keep each one small when a batch is uploaded image by image.
        folder = self._root / name[:2]
        if not folder.is_dir():
            make_folder(folder)
        return folder / f"{name[2:]}{suffix}"

    def _blob(self, path: Path, size: int, sha256: str) -> Blob:
        return Blob(str(path.relative_to(self._data)), size, sha256)


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there, and its name durable."""
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
