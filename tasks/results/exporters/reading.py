"""The tables of a run as a stream of images with their predictions, and what a first look at them says.

Both tables are sorted by file and, where videos were processed, by frame; they are read side by side, a row group at a
time, so memory does not grow with the number of images. Columns are taken by their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import damaged
from tasks.core.options import DatasetOptions
from tasks.core.run_folder import RunFolder
from tasks.results.exporters.base import NO_RESULT, Item, Prediction
from tasks.results.exporters.classes import label_of
from tasks.results.exporters.geometry import CORNERS, Box, Point
from tasks.results.exporters.naming import Names, split_of
from tasks.results.writer import read_batches

_FRAME = "frame"
ABOUT_IMAGE = ("file", "source_key", _FRAME)
"""Columns of both tables that say which image a row is about."""
IMAGE_COLUMNS = (*ABOUT_IMAGE, "width", "height")
"""Columns of ``results.parquet`` that are not the workflow's."""
_BYTES_AT_A_TIME = 1 << 17
"""Arrow's bytes that become Python objects at a time: these take some forty times as much."""
_NO_FRAME = -1

_Key = tuple[str, int]


class RunTables:
    """The results and predictions of one run, seen through what was asked for.

    Args:
        run_dir: the run's folder.
        options: what was asked for.
    """

    def __init__(self, run_dir: Path, options: DatasetOptions) -> None:
        self.results = RunFolder(run_dir).results
        self.predictions = RunFolder(run_dir).predictions
        self._options = options

    def items(self, skipped: Counter[str]) -> Iterator[Item]:
        """Every image in the order of its name.

        Args:
            skipped: predictions that belong to no image are counted here.

        Raises:
            LocalFault: a table is not sorted, or damaged.
        """
        names = Names()
        groups = self._groups()
        group = next(groups, None)
        for key, row in _in_order(_rows(self.results), self.results):
            while group is not None and group[0] < key:
                skipped[NO_RESULT] += len(group[1])
                group = next(groups, None)
            found: list[Prediction] = []
            if group is not None and group[0] == key:
                found = group[1]
                group = next(groups, None)
            yield self._item(names, row, found)
        while group is not None:
            skipped[NO_RESULT] += len(group[1])
            group = next(groups, None)

    def _groups(self) -> Iterator[tuple[_Key, list[Prediction]]]:
        """The chosen predictions of each image that has any."""
        wanted = chooser(self._options)
        grouped = ((key, rows) for key, rows in groupby(_rows(self.predictions), _key))
        for key, rows in _in_order_of_keys(grouped, self.predictions):
            yield key, [_prediction(row) for row in rows if wanted(row["output"])]

    def _item(self, names: Names, row: dict[str, Any], predictions: list[Prediction]) -> Item:
        about = {name: row.pop(name, None) for name in IMAGE_COLUMNS}
        if about["width"] is None or about["height"] is None:
            about["width"], about["height"] = _size_said(predictions)
        return Item(
            **about,
            name=names.name(about["file"], about["frame"]),
            split=split_of(about["source_key"], self._options.validation),
            predictions=predictions,
            outputs=row,
        )


def chooser(options: DatasetOptions) -> Callable[[str], bool]:
    """Says whether predictions of an output, such as ``codes`` or ``model/predictions``, are wanted."""
    chosen = frozenset(options.outputs)
    return lambda output: not chosen or output in chosen or output.partition("/")[0] in chosen


def schema_of(table: Path) -> pa.Schema:
    """A table's columns.

    Raises:
        LocalFault: the table is damaged.
    """
    try:
        return pq.read_schema(table)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(table) from error


def batches(table: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a table with these columns and no others.

    Raises:
        LocalFault: the table is damaged.
    """
    read = read_batches(table, columns)
    while True:
        try:
            batch = next(read, None)
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(table) from error
        if batch is None:
            return
        yield batch.select(columns)


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows of a batch, of which only a few exist at a time."""
    step = max(1, batch.num_rows * _BYTES_AT_A_TIME // max(batch.nbytes, _BYTES_AT_A_TIME))
    for start in range(0, batch.num_rows, step):
        yield from batch.slice(start, step).to_pylist()


def _rows(table: Path) -> Iterator[dict[str, Any]]:
    for batch in batches(table, schema_of(table).names):
        yield from rows_of(batch)


def _key(row: dict[str, Any]) -> _Key:
    frame = row.get(_FRAME)
    return row["file"], _NO_FRAME if frame is None else frame


def _in_order(rows: Iterator[dict[str, Any]], table: Path) -> Iterator[tuple[_Key, dict[str, Any]]]:
    return _in_order_of_keys(((_key(row), row) for row in rows), table)


def _in_order_of_keys(keyed: Iterator[tuple[_Key, Any]], table: Path) -> Iterator[tuple[_Key, Any]]:
    last: _Key | None = None
    for key, value in keyed:
        if last is not None and key <= last:
            raise damaged(table)
        last = key
        yield key, value


def _prediction(row: dict[str, Any]) -> Prediction:
    for name in ABOUT_IMAGE:
        row.pop(name, None)
    return Prediction(row, label_of(row["class"]), _box(row), _outline(row["points"]))


def _box(row: dict[str, Any]) -> Box | None:
    x, y, width, height = row["x"], row["y"], row["width"], row["height"]
    if x is None or y is None or width is None or height is None:
        return None
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _outline(points: list[dict[str, Any]] | None) -> tuple[Point, ...]:
    outline = [(point["x"], point["y"]) for point in points or () if None not in (point["x"], point["y"])]
    return tuple(outline) if len(outline) >= CORNERS else ()


def _size_said(predictions: list[Prediction]) -> tuple[int | None, int | None]:
    """The image's size as the first prediction that knows it has it."""
    for prediction in predictions:
        width, height = prediction.row["image_width"], prediction.row["image_height"]
        if width is not None and height is not None:
            return width, height
    return None, None
