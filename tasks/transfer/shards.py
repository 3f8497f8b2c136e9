"""Tar shards: which files go together, and the archive's bytes, made while they are sent.

No archive is ever written to disk or held in memory: the length is known from the manifest, and the bytes are read from
the source as the connection takes them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from tasks.media.manifest import ManifestRow
from tasks.sources.base import Source, SourceChanged

BLOCK = tarfile.BLOCKSIZE
END_OF_ARCHIVE = b"\0" * (2 * BLOCK)
READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class ShardLimits:
    """How large a shard may grow.

    Attributes:
        images: most images; the contract allows 500, the official client packs 256.
        bytes: largest archive, so that a shard that has to be sent again is not a long way back; a file that is larger
            by itself still goes, alone.
    """

    images: int = 256
    bytes: int = 64 * 1024 * 1024

    def within(self, images: int | None, size: int | None) -> ShardLimits:
        """These limits, or the server's where they are lower."""
        return ShardLimits(min(self.images, images or self.images), min(self.bytes, size or self.bytes))


@dataclass(frozen=True)
class Shard:
    """Files that go together: as one archive, or as one chunk of references.

    Attributes:
        part: its name in the journal, the same for the same manifest and limits.
        rows: the files.
    """

    part: str
    rows: tuple[ManifestRow, ...]

    def without(self, names: Container[str]) -> Shard:
        """The shard less the files that cannot be sent any more."""
        return Shard(self.part, tuple(row for row in self.rows if row.name not in names))

    def length(self) -> int:
        """Bytes of the archive."""
        return sum(_member_length(row) for row in self.rows) + len(END_OF_ARCHIVE)


class FileChanged(SourceChanged):
    """A file is not what was staged any more; ``name`` says which."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def plan_shards(rows: Iterable[ManifestRow], limits: ShardLimits) -> Iterator[Shard]:
    """Cuts a manifest into shards, in its order; one shard is in memory at a time."""
    pending: list[ManifestRow] = []
    size, number = len(END_OF_ARCHIVE), 0
    for row in rows:
        added = _member_length(row)
        if pending and (len(pending) == limits.images or size + added > limits.bytes):
            yield Shard(f"shard-{number:06d}", tuple(pending))
            pending, size, number = [], len(END_OF_ARCHIVE), number + 1
        pending.append(row)
        size += added
    if pending:
        yield Shard(f"shard-{number:06d}", tuple(pending))


def stream_shard(source: Source, shard: Shard) -> Iterator[bytes]:
    """The archive's bytes, :meth:`Shard.length` of them.

    Raises:
        FileChanged: a file is not what was staged any more. What has been sent is then an archive cut short, which the
            platform does not take.
    """
    for row in shard.rows:
        yield _header(row)
        yield from stream_file(source, row)
        yield b"\0" * (_padded(row) - _size(row))
    yield END_OF_ARCHIVE


def stream_file(source: Source, row: ManifestRow) -> Iterator[bytes]:
    """The file's bytes, exactly as many as were staged.

    Raises:
        FileChanged: it is not what was staged any more.
    """
    left = _size(row)
    try:
        with source.open(row.item()) as file:
            while left and (block := file.read(min(left, READ_BYTES))):
                left -= len(block)
                yield block
    except SourceChanged as error:
        raise FileChanged(row.name, str(error)) from error
    except OSError as error:
        raise FileChanged(row.name, f"cannot be read: {error.strerror}") from error
    if left:
        raise FileChanged(row.name, "was cut short while it was sent")


def _header(row: ManifestRow) -> bytes:
    """The member's header; the same for the same file, wherever and whenever it is made."""
    member = tarfile.TarInfo(row.name)
    member.size = _size(row)
    return member.tobuf(tarfile.PAX_FORMAT)


def _member_length(row: ManifestRow) -> int:
    return len(_header(row)) + _padded(row)


def _padded(row: ManifestRow) -> int:
    return -(-_size(row) // BLOCK) * BLOCK


def _size(row: ManifestRow) -> int:
    """Bytes, which every source tells from which files can be uploaded."""
    assert row.size is not None
    return row.size
