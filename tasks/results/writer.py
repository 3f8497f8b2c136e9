"""Writing parquet in row groups, and reading it a batch at a time, in bounded memory."""

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


class TableWriter:
    """Gathers tables into row groups; a context manager.

    Args:
        path: file to write.
        schema: of the tables.
        rows_per_group: most rows of a row group.
        repeating: the columns whose values come again and again, which parquet then stores once; ``None`` if any may.
    """

    def __init__(self, path: Path, schema: pa.Schema, rows_per_group: int, repeating: list[str] | None = None) -> None:
        dictionaries: bool | list[str] = True if repeating is None else repeating
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries)
        self._schema = schema
        self._rows_per_group = rows_per_group
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._bytes = 0
        self.count = 0
        """Rows taken so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._writer:
            if error is None:
                self._end_group(self._rows)

    def write(self, table: pa.Table, size: int) -> None:
        """Adds rows.

        Args:
            table: the rows.
            size: about how many bytes they take.
        """
        self._tables.append(table)
        self._rows += table.num_rows
        self._bytes += size
        self.count += table.num_rows
        while self._rows >= self._rows_per_group:
            self._end_group(self._rows_per_group)
        if self._bytes > BYTES_PER_GROUP:
            self._end_group(self._rows)

    def _end_group(self, rows: int) -> None:
        if rows == 0:
            return
        table = pa.concat_tables(self._tables)
        # Row groups of one chunk: how rows came together must not matter.
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._tables = [table.slice(rows)]
        self._bytes = self._bytes * (self._rows - rows) // self._rows
        self._rows -= rows


class RowWriter:
    """Gathers rows for a :class:`TableWriter`; a context manager.

    Args:
        path: file to write.
        schema: of the rows; rows are dictionaries, and what they lack is null.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = TableWriter(path, schema, ROWS_PER_GROUP)
        self._rows: list[dict[str, Any]] = []
        self.count = 0
        """Rows written so far."""

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end_batch()
        self._writer.__exit__(kind, error, trace)

    def write(self, row: dict[str, Any]) -> None:
        """Adds a row, its values by column."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == _ROWS_PER_BATCH:
            self._end_batch()

    def _end_batch(self) -> None:
        # Arrow holds rows in a fraction of the memory that dictionaries take.
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write(table, table.nbytes)
            self._rows = []


def read_batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a table; none where the file is not there.

    They may hold more columns than asked for: parquet takes ``a.b`` for a column of that name and for a field of
    ``a`` alike. So columns are to be taken by their names.
    """
    if path.exists():
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_ROWS_READ, columns=columns)
