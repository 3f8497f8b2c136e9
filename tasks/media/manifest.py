"""The manifest: every file of the run, its unique name, and what a look inside said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import BadInput, damaged
from tasks.core.files import appearing
from tasks.core.progress import Progress
from tasks.core.redaction import redact
from tasks.media.images import NotAnImage, check_size, read_header
from tasks.media.names import encode_name
from tasks.sources.base import IMAGE_EXTENSIONS, MediaObject, ReferenceSource, Source, SourceChanged
from tasks.sources.patterns import is_pattern

ROWS_PER_GROUP = 10_000
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("name", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("checksum", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
    ],
    metadata={"darkroom.schema": "manifest/2"},
)


_VALUES = attrgetter(*SCHEMA.names)


@dataclass(slots=True)
class ManifestRow:
    """One file.

    Attributes:
        key: name below the source's root.
        name: flat name on the platform, unique in the batch.
        size: bytes, or ``None`` where only fetching would tell.
        etag: the store's version tag, or ``None``.
        modified: last change in UTC, or ``None``.
        checksum: as the listing gave it, or ``None``.
        width: pixels, or ``None`` where nothing could be read.
        height: pixels, likewise.
        format: such as ``JPEG``, likewise.
        state: ``staged``, or ``rejected`` with a reason.
        reason: why it was rejected.
    """

    key: str
    name: str
    size: int | None
    etag: str | None
    modified: datetime | None
    checksum: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    state: str = "staged"
    reason: str | None = None

    def item(self) -> MediaObject:
        """The object as the source listed it."""
        return MediaObject(self.key, self.size, self.etag, self.modified, self.checksum)


@dataclass
class ManifestFacts:
    """What a manifest adds up to.

    Attributes:
        digest: SHA-256 over what was listed: keys, sizes and versions.
        files: rows.
        rejected: rows that are rejected.
        ignored: objects left out for their extension.
        bytes: sizes of the staged rows, added up, as far as they are known.
    """

    digest: str = ""
    files: int = 0
    rejected: int = 0
    ignored: int = 0
    bytes: int = 0


class NothingListed(BadInput):
    """The source holds no files of the wanted kind."""


class Listing:
    """The objects of a source that are images by name or by the user's word, with a digest of all that went by.

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
            if self._source.by_extension and _extension(item.key) not in IMAGE_EXTENSIONS:
                self.ignored += 1
                continue
            self.files += 1
            stamp = item.modified.isoformat() if item.modified and not item.etag else ""
            size = "" if item.size is None else str(item.size)
            fields = (item.key, size, item.etag or "", stamp)
            self._hash.update("\0".join(fields).encode("utf-8", "surrogateescape") + b"\n\0")
            yield item

    def digest(self) -> str:
        """The digest of what has gone by.

        Raises:
            NothingListed: nothing has.
        """
        if not self.files:
            raise NothingListed(_nothing_listed(self._source, self.ignored))
        return self._hash.hexdigest()


def digest_source(source: Source) -> str:
    """The digest that a manifest of ``source`` would have, without looking inside the files.

    Raises:
        NothingListed: there are no images.
    """
    listing = Listing(source)
    for _ in listing:
        pass
    return listing.digest()


def write_manifest(source: Source, path: Path, progress: Progress) -> ManifestFacts:
    """Lists ``source``, looks inside every image that lies here and writes the manifest, a row group at a time.

    Raises:
        NothingListed: there are no images.
    """
    listing, facts, needs_url = Listing(source), ManifestFacts(), _needs_url(source)

    def rows() -> Iterator[ManifestRow]:
        for item in listing:
            row = _look(source, item, needs_url=needs_url)
            _count(facts, row)
            progress.advance("stage", 1, None, item.size or 0)
            yield row
        facts.digest, facts.ignored = listing.digest(), listing.ignored

    write_rows(path, rows())
    return facts


def write_rows(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Writes a manifest of ``rows``; one row group is in memory at a time."""
    stream = iter(rows)
    with appearing(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        while group := list(islice(stream, ROWS_PER_GROUP)):
            values = zip(*map(_VALUES, group), strict=True)
            columns = [pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))


def read_manifest(path: Path, state: str | None = None) -> Iterator[ManifestRow]:
    """The rows in their order, of one state or all; one row group is in memory at a time.

    Raises:
        LocalFault: the file is damaged.
    """
    for batch in _batches(path):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = ManifestRow(*values)
            if state is None or row.state == state:
                yield row


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1000, use_threads=False)  # threads would decode far ahead
    except pa.ArrowException:
        raise damaged(path) from None


def find_row(path: Path, key: str) -> ManifestRow:
    """The row of one key, which must be there."""
    (row,) = pq.read_table(path, filters=[("key", "=", key)]).to_pylist()
    return ManifestRow(**row)


def _nothing_listed(source: Source, ignored: int) -> str:
    url = redact(source.url)
    left_out = f" ({ignored} other files)" if ignored else ""
    if is_pattern(url):
        return (
            f"the pattern {url} matches no image{left_out}: * stays within one folder, **/ goes through any number of "
            "them, and a pattern that ends in / takes all below the folders it names"
        )
    if not source.by_extension:
        return f"nothing is in {url}"
    return f"no images in {url}{left_out}: it needs files that end in {' '.join(sorted(IMAGE_EXTENSIONS))}"


def _look(source: Source, item: MediaObject, *, needs_url: bool) -> ManifestRow:
    """The item's row; where opening it costs next to nothing, after a look at its header."""
    try:
        item.key.encode()
    except UnicodeEncodeError:
        shown = item.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return _rejected(_row(item, shown), "the file name is not valid UTF-8: rename it")
    row = _row(item, item.key)
    try:
        if needs_url and not {".", ".."}.isdisjoint(item.key.split("/")):
            raise NotAnImage("no URL can hold a name with a part that is . or ..: rename it")
        if item.size is not None:
            check_size(item.size)
        if source.is_local:
            with source.open(item) as file:
                facts = read_header(file)
            row.width, row.height, row.format = facts.width, facts.height, facts.format
    except (NotAnImage, SourceChanged) as error:
        return _rejected(row, str(error))
    return row


def _needs_url(source: Source) -> bool:
    """Whether the platform may fetch from URLs that are made from the keys."""
    return isinstance(source, ReferenceSource) and not source.only_by_reference


def _row(item: MediaObject, key: str) -> ManifestRow:
    return ManifestRow(key, encode_name(item.key), item.size, item.etag, item.modified, item.checksum)


def _extension(key: str) -> str:
    """The extension in lower case; a path object would cost more than all else that is done for a row."""
    name = key[key.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _rejected(row: ManifestRow, reason: str) -> ManifestRow:
    row.state, row.reason = "rejected", reason
    return row


def _count(facts: ManifestFacts, row: ManifestRow) -> None:
    facts.files += 1
    if row.state == "rejected":
        facts.rejected += 1
    else:
        facts.bytes += row.size or 0
