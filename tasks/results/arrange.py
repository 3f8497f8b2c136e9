"""The second pass: the results of some files, in the order of their names, as rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.results.blocks import LineFiles
from tasks.results.columns import OutputColumn
from tasks.results.images import ImageFinder
from tasks.results.parse import parse_result
from tasks.results.pieces import Piece, joined, piece_of_results, piece_of_rows, rows_fit
from tasks.results.runs import SortedRuns
from tasks.results.schemas import PREDICTIONS_SCHEMA, results_schema
from tasks.results.sources import PredictionSource, sources_of
from tasks.results.store import ResultStore, StoredResult

WINDOW_ROWS = 2_000
WINDOW_BYTES = 4 * 1024**2
"""Bytes of lines after which a window ends."""


@dataclass(frozen=True)
class Slice:
    """Rows of a run that stand one after the other.

    Attributes:
        run: its number.
        start: rows before them.
        places: of the rows in the window.
    """

    run: int
    start: int
    places: list[int]


@dataclass(frozen=True)
class Window:
    """Some files in the order of their names.

    Attributes:
        results: the files.
        slices: where those stand that are in runs.
        unread: places in the window of those that are in none.
        size: bytes of their lines.
    """

    results: list[StoredResult]
    slices: list[Slice]
    unread: list[int]
    size: int


@dataclass(frozen=True)
class Tables:
    """Rows of both tables for a window, and the bytes of the lines that they come from."""

    results: pa.Table
    predictions: pa.Table
    size: int


def windows(store: ResultStore) -> Iterator[Window]:
    """All results in the order of their names; how they fall into windows does not depend on how they came."""
    taken: dict[int, int] = {}
    results: list[StoredResult] = []
    size = 0
    for result in store:
        if results and (len(results) == WINDOW_ROWS or size + result.length > WINDOW_BYTES):
            yield _window(results, size, taken)
            results, size = [], 0
        results.append(result)
        size += result.length
    if results:
        yield _window(results, size, taken)


def _window(results: list[StoredResult], size: int, taken: dict[int, int]) -> Window:
    """A window of results; ``taken`` counts the rows that were taken of each run."""
    places: dict[int | None, list[int]] = {}
    for place, result in enumerate(results):
        places.setdefault(result.run, []).append(place)
    unread = places.pop(None, [])
    slices = [Slice(run, taken.get(run, 0), found) for run, found in places.items() if run is not None]
    for part in slices:
        taken[part.run] = part.start + len(part.places)
    return Window(results, slices, unread, size)


class Arranger:
    """Makes rows of windows.

    Args:
        columns: of ``results.parquet``.
        files: where the lines stand.
        runs: what was read in full.
        images: finds the files of image outputs.
    """

    def __init__(
        self, columns: Sequence[OutputColumn], files: LineFiles, runs: SortedRuns, images: ImageFinder
    ) -> None:
        self._columns = columns
        self._sources = sources_of(columns)
        self._files = files
        self._runs = runs
        self._images = images
        self.schema = results_schema(column.arrow_field() for column in columns)
        """Of ``results.parquet``."""

    def tables(self, window: Window) -> Tables:
        """The window's rows."""
        piece = self._piece(window)
        files = pa.array([result.file for result in window.results], pa.string())
        keys = pa.array([result.key for result in window.results], pa.string())
        width, height = _sizes(window.results, piece)
        fixed = [files, keys, pa.nulls(len(files), pa.int64()), width, height]
        results = pa.Table.from_arrays([*fixed, *piece.columns], schema=self.schema)
        return Tables(results, _predictions(files, keys, self._sources, piece), window.size)

    def _piece(self, window: Window) -> Piece:
        """The outputs of all rows, in the window's order."""
        groups, exact = self._groups(window)
        pieces, order = [], []
        for slices in groups:
            rows = pa.concat_tables(self._runs.rows(part.run, part.start, len(part.places)) for part in slices)
            pieces.append(piece_of_rows(rows, self._columns, self._sources, self._images))
            order += [place for part in slices for place in part.places]
        if exact:
            pieces.append(self._exact_piece([window.results[place] for place in exact]))
            order += exact
        return joined(pieces).take(_inverse(order))

    def _groups(self, window: Window) -> tuple[list[list[Slice]], list[int]]:
        """Slices whose rows have the same schema, and the places of results whose lines have to be read again."""
        groups: dict[pa.Schema, list[Slice]] = {}
        exact = list(window.unread)
        for part in window.slices:
            schema = self._runs.schema(part.run)
            if rows_fit(schema, self._columns):
                groups.setdefault(schema, []).append(part)
            else:
                exact += part.places
        return list(groups.values()), exact

    def _exact_piece(self, results: list[StoredResult]) -> Piece:
        outputs: list[dict[str, Any]] = [{}] * len(results)
        by_place = sorted(range(len(results)), key=lambda n: results[n].line)
        with self._files.reader() as read:
            for n in by_place:
                outputs[n] = parse_result(read(results[n].line)).outputs
        files = [result.file for result in results]
        return piece_of_results(files, outputs, self._columns, self._sources, self._images)


def _inverse(order: Sequence[int]) -> pa.Array:
    """Where each place stands in an order of all places."""
    where = [0] * len(order)
    for position, place in enumerate(order):
        where[place] = position
    return pa.array(where, pa.int64())


def _sizes(results: list[StoredResult], piece: Piece) -> tuple[pa.Array, pa.Array]:
    """Pixels as the workflow saw them (it may have turned the image), else as the manifest has them."""
    width = pa.array([result.width for result in results], pa.int64())
    height = pa.array([result.height for result in results], pa.int64())
    for found in reversed(piece.found):
        both = pc.and_(found.width.is_valid(), found.height.is_valid())
        width, height = pc.if_else(both, found.width, width), pc.if_else(both, found.height, height)
    return width, height


def _predictions(files: pa.Array, keys: pa.Array, sources: Sequence[PredictionSource], piece: Piece) -> pa.Table:
    """The rows of ``predictions.parquet``: by file, then by source, then as they came."""
    if not sources:
        return PREDICTIONS_SCHEMA.empty_table()
    results, count = len(files), len(sources)
    # Lists stand source by source; they are wanted file by file.
    by_file = pa.array([n * results + row for row in range(results) for n in range(count)], pa.int64())
    lists = pa.concat_arrays([found.predictions for found in piece.found]).take(by_file)
    parents = pc.list_parent_indices(lists)
    rows = pc.divide(parents, count)
    own = pc.subtract(parents, pc.multiply(rows, count))
    sizes = {
        name: pa.concat_arrays([getattr(found, name) for found in piece.found]).take(by_file).take(parents)
        for name in ("width", "height")
    }
    detections = lists.flatten()
    columns = {field.name: detections.field(n) for n, field in enumerate(detections.type)}
    columns |= {"file": files.take(rows), "source_key": keys.take(rows)}
    columns |= {"frame": pa.nulls(len(rows), pa.int64()), "time_offset": pa.nulls(len(rows), pa.float64())}
    columns |= {"output": pa.array([source.name for source in sources], pa.string()).take(own)}
    columns |= {"image_width": sizes["width"], "image_height": sizes["height"]}
    return pa.Table.from_arrays([columns[name] for name in PREDICTIONS_SCHEMA.names], schema=PREDICTIONS_SCHEMA)
