"""Results that were read in full, on disk in sorted runs, so that they can be taken out in the order of their names.

A run holds the results of some blocks, sorted by name. Going through all files in the order of their names takes each
run's rows one after the other, whatever the order in which the results came.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from tasks.results.parse import IMAGE_KEY

RUN_BYTES = 12 * 1024**2
"""A run ends here."""
_ROWS_PER_CHUNK = 256
"""Rows that lie together in the file; few, as reading some of them brings all of them into memory."""


class SortedRuns:
    """Runs of rows in a scratch file; a context manager that removes the file at the end.

    Rows of one run have one schema.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = pa.OSFile(str(path), mode="w")
        self._schemas: list[pa.Schema] = []
        self._offsets: list[list[int]] = []
        self._open: list[pa.RecordBatch] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def number_for(self, schema: pa.Schema) -> int:
        """The run to which the next rows go."""
        if self._open and not self._open[-1].schema.equals(schema):
            self.seal()
        return len(self._offsets)

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows to the run that :meth:`number_for` gave for their schema."""
        self._open.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= RUN_BYTES:
            self.seal()

    def seal(self) -> None:
        """Ends the run; has to be done before rows are taken out."""
        if not self._open:
            return
        table = pa.Table.from_batches(self._open).combine_chunks()
        self._open, self._bytes = [], 0
        table = table.take(pc.sort_indices(table.column(IMAGE_KEY)))
        self._schemas.append(table.schema)
        starts = range(0, len(table), _ROWS_PER_CHUNK)
        self._offsets.append([self._write(table.slice(start, _ROWS_PER_CHUNK)) for start in starts])

    def _write(self, chunk: pa.Table) -> int:
        offset: int = self._file.tell()
        with pa.ipc.new_stream(self._file, chunk.schema) as stream:
            stream.write_table(chunk)
        return offset

    def schema(self, run: int) -> pa.Schema:
        """The schema of a run's rows."""
        return self._schemas[run]

    def rows(self, run: int, start: int, count: int) -> pa.Table:
        """Some rows of a run, in the order of their names."""
        first, last = start // _ROWS_PER_CHUNK, (start + count - 1) // _ROWS_PER_CHUNK
        # Mapped anew each time, so that what was read once does not count as memory in use for ever.
        with pa.memory_map(str(self._path)) as source:
            chunks = [_read(source, offset) for offset in self._offsets[run][first : last + 1]]
        return pa.concat_tables(chunks).slice(start - first * _ROWS_PER_CHUNK, count)


def _read(source: pa.MemoryMappedFile, offset: int) -> pa.Table:
    source.seek(offset)
    with pa.ipc.open_stream(source) as stream:
        return stream.read_all()
