"""The manifest: every file of the run, its unique name, and what a look inside said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import BadInput, damaged
from tasks.core.files import appearing
from tasks.core.progress import Progress
from tasks.media.images import NotAnImage, check_size, read_header
from tasks.media.names import encode_name
from tasks.sources.base import IMAGE_EXTENSIONS, MediaObject, Source, SourceChanged

ROWS_PER_GROUP = 10_000
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("name", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
    ],
    metadata={"darkroom.schema": "manifest/1"},
)


@dataclass(slots=True)
class ManifestRow:
    """One file.

    Attributes:
        key: name below the source's root.
        name: flat name on the platform, unique in the batch.
        size: bytes.
        etag: the store's version tag, or ``None``.
        modified: last change in UTC, or ``None``.
        width: pixels, or ``None`` where nothing could be read.
        height: pixels, likewise.
        format: such as ``JPEG``, likewise.
        state: ``staged``, or ``rejected`` with a reason.
        reason: why it was rejected.
    """

    key: str
    name: str
    size: int
    etag: str | None
    modified: datetime | None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    state: str = "staged"
    reason: str | None = None

    def item(self) -> MediaObject:
        """The object as the source listed it."""
        return MediaObject(self.key, self.size, self.etag, self.modified)


@dataclass
class ManifestFacts:
    """What a manifest adds up to.

    Attributes:
        digest: SHA-256 over what was listed: keys, sizes and versions.
        files: rows.
        rejected: rows that are rejected.
        ignored: objects left out for their extension.
        bytes: sizes of the staged rows, added up.
    """

    digest: str = ""
    files: int = 0
    rejected: int = 0
    ignored: int = 0
    bytes: int = 0


class Listing:
    """The objects of a source that are images by name, with a digest of all that went by.

    Args:
        source: where they lie.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.files = 0
        self.ignored = 0

    def __iter__(self) -> Iterator[MediaObject]:
        for item in self._source.list():
            if PurePosixPath(item.key).suffix.lower() not in IMAGE_EXTENSIONS:
                self.ignored += 1
                continue
            self.files += 1
            stamp = item.modified.isoformat() if item.modified else ""
            fields = (item.key, str(item.size), item.etag or "", stamp)
            self._hash.update("\0".join(fields).encode("utf-8", "surrogateescape") + b"\n\0")
            yield item

    def digest(self) -> str:
        """The digest of what has gone by.

        Raises:
            BadInput: nothing has.
        """
        if not self.files:
            left_out = f" ({self.ignored} other files)" if self.ignored else ""
            kinds = " ".join(sorted(IMAGE_EXTENSIONS))
            raise BadInput(f"no images in {self._source.url}{left_out}: it needs files that end in {kinds}")
        return self._hash.hexdigest()


def digest_source(source: Source) -> str:
    """The digest that a manifest of ``source`` would have, without looking inside the files.

    Raises:
        BadInput: there are no images.
    """
    listing = Listing(source)
    for _ in listing:
        pass
    return listing.digest()


def write_manifest(source: Source, path: Path, progress: Progress) -> ManifestFacts:
    """Lists ``source``, looks inside every image and writes the manifest, a row group at a time.

    Raises:
        BadInput: there are no images.
    """
    listing, facts = Listing(source), ManifestFacts()
    with appearing(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        rows: list[ManifestRow] = []
        for item in listing:
            row = _look(source, item)
            _count(facts, row)
            rows.append(row)
            progress.advance("stage", 1)
            if len(rows) == ROWS_PER_GROUP:
                _write(writer, rows)
        _write(writer, rows)
        facts.digest, facts.ignored = listing.digest(), listing.ignored
    return facts


def read_manifest(path: Path, state: str | None = None) -> Iterator[ManifestRow]:
    """The rows in their order, of one state or all; one row group is in memory at a time.

    Raises:
        LocalFault: the file is damaged.
    """
    for batch in _batches(path):
        for row in batch.to_pylist():
            if state is None or row["state"] == state:
                yield ManifestRow(**row)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1000)
    except pa.ArrowException:
        raise damaged(path) from None


def find_row(path: Path, key: str) -> ManifestRow:
    """The row of one key, which must be there."""
    (row,) = pq.read_table(path, filters=[("key", "=", key)]).to_pylist()
    return ManifestRow(**row)


def _look(source: Source, item: MediaObject) -> ManifestRow:
    try:
        item.key.encode()
    except UnicodeEncodeError:
        shown = item.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        row = ManifestRow(shown, encode_name(item.key), item.size, item.etag, item.modified)
        return _rejected(row, "the file name is not valid UTF-8: rename it")
    row = ManifestRow(item.key, encode_name(item.key), item.size, item.etag, item.modified)
    try:
        check_size(item.size)
        with source.open(item) as file:
            facts = read_header(file)
    except (NotAnImage, SourceChanged) as error:
        return _rejected(row, str(error))
    row.width, row.height, row.format = facts.width, facts.height, facts.format
    return row


def _rejected(row: ManifestRow, reason: str) -> ManifestRow:
    row.state, row.reason = "rejected", reason
    return row


def _count(facts: ManifestFacts, row: ManifestRow) -> None:
    facts.files += 1
    if row.state == "rejected":
        facts.rejected += 1
    else:
        facts.bytes += row.size


def _write(writer: pq.ParquetWriter, rows: list[ManifestRow]) -> None:
    writer.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA))
    rows.clear()
