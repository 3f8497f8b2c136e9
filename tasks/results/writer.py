"""Writing parquet a row at a time, and reading it a batch at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 10_000
BYTES_PER_GROUP = 32 * 1024**2
"""A row group ends here too, so that rows of long outlines do not add up."""
_ROWS_PER_BATCH = 500
_ROWS_READ = 5_000


class RowWriter:
    """Gathers rows into row groups; a context manager.

    Args:
        path: file to write.
        schema: of the rows; rows are dictionaries, and what they lack is null.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._batches: list[pa.RecordBatch] = []
        self.count = 0
        """Rows written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._writer:
            if error is None:
                self._end_batch()
                self._end_group()

    def write(self, row: dict[str, Any], size: int = 0) -> None:
        """Adds a row.

        Args:
            row: values by column.
            size: about how many bytes it takes, where it may be many.
        """
        self._rows.append(row)
        self._row_bytes += size
        self.count += 1
        if len(self._rows) == _ROWS_PER_BATCH or self._row_bytes > BYTES_PER_GROUP // 8:
            self._end_batch()

    def _end_batch(self) -> None:
        # Arrow holds rows in a fraction of the memory that dictionaries take.
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows, self._row_bytes = [], 0
        rows = sum(batch.num_rows for batch in self._batches)
        full = rows + _ROWS_PER_BATCH > ROWS_PER_GROUP
        if full or sum(batch.nbytes for batch in self._batches) > BYTES_PER_GROUP:
            self._end_group()

    def _end_group(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches), row_group_size=ROWS_PER_GROUP)
            self._batches = []


def read_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a table; none where the file is not there.

    They may hold more columns than asked for: parquet takes ``a.b`` for a column of that name and for a field of
    ``a`` alike. So columns are to be taken by their names.
    """
    if path.exists():
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_ROWS_READ, columns=columns)
