"""Files of a job's output: written aside, flushed, and renamed into place."""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deployments.batch_server.blobs import BUFFER, flush_folder

FAST, STORED = 1, 0
"""Compression levels: results shrink well at the lowest cost; images are compressed already."""


@dataclass(frozen=True)
class ArchiveMember:
    """A file to be put into an archive."""

    name: str
    content: bytes | Path
    modified: float
    """Seconds since the epoch."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name, complete and flushed, when the block ends."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_folder(path.parent)


def write_archive(path: Path, members: Iterable[ArchiveMember], level: int) -> None:
    """Write a `.tar.gz`; the same members give the same bytes.

    Args:
        path: Where it appears once it is complete.
        members: What goes in, read one at a time.
        level: Compression level.
    """
    with (
        replacing(path) as file,
        gzip.GzipFile("", "wb", level, file, mtime=0) as zipped,
        # As a stream: members then reach the compressor in large pieces.
        tarfile.open(mode="w|", fileobj=zipped, bufsize=BUFFER, format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            _add(archive, member)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, member: ArchiveMember) -> None:
    info = tarfile.TarInfo(member.name)
    info.mtime, info.mode = int(member.modified), 0o644
    if isinstance(member.content, bytes):
        info.size = len(member.content)
        archive.addfile(info, io.BytesIO(member.content))
        return
    with member.content.open("rb") as file:
        info.size = os.fstat(file.fileno()).st_size
        archive.addfile(info, file)
