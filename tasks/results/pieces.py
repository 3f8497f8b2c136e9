"""The outputs of some results as Arrow columns of their final types.

They are made of JSON values or of what Arrow's reader gave; both give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.results.classifications import FIELDS
from tasks.results.columns import OutputColumn
from tasks.results.images import ImageFinder
from tasks.results.kinds import EMPTY, IMAGE, JSON, PREDICTIONS, ImagePath, Kind, arrow_type, convert
from tasks.results.parse import IMAGE_KEY
from tasks.results.prediction_arrays import detection_lists, field_of, image_sizes, relisted
from tasks.results.predictions import image_size
from tasks.results.schemas import DETECTION
from tasks.results.sources import PredictionSource


@dataclass(frozen=True)
class Found:
    """What one source gives.

    Attributes:
        predictions: a list for each result, null where there is no set of predictions.
        width: pixels of the image that they refer to.
        height: likewise.
    """

    predictions: pa.Array
    width: pa.Array
    height: pa.Array


@dataclass(frozen=True)
class Piece:
    """The outputs of some results: an array a column of ``results.parquet``, and what each source gives."""

    columns: list[pa.Array]
    found: list[Found]

    def take(self, places: pa.Array) -> Piece:
        """The results in another order."""
        found = [Found(f.predictions.take(places), f.width.take(places), f.height.take(places)) for f in self.found]
        return Piece([column.take(places) for column in self.columns], found)


def joined(pieces: Sequence[Piece]) -> Piece:
    """All results, one piece after the other; there has to be one at least."""
    if len(pieces) == 1:
        return pieces[0]
    columns = [pa.concat_arrays(arrays) for arrays in zip(*(piece.columns for piece in pieces), strict=True)]
    return Piece(columns, [_joined(found) for found in zip(*(piece.found for piece in pieces), strict=True)])


def piece_of_results(
    files: Sequence[str],
    outputs: Sequence[dict[str, Any]],
    columns: Sequence[OutputColumn],
    sources: Sequence[PredictionSource],
    images: ImageFinder,
) -> Piece:
    """The outputs of results that were read the exact way."""
    paths = [_path_finder(images, file) for file in files]
    rows = list(zip(outputs, paths, strict=True))
    arrays = [pa.array([column.value(*row) for row in rows], arrow_type(column.kind)) for column in columns]
    return Piece(arrays, [_found_in_values([source.pick(o) for o in outputs], source) for source in sources])


def piece_of_rows(
    rows: pa.Table, columns: Sequence[OutputColumn], sources: Sequence[PredictionSource], images: ImageFinder
) -> Piece:
    """The outputs of results that Arrow's reader read, of which :func:`rows_fit` says that it can be done."""
    batch = rows.combine_chunks().to_batches()[0]
    files = batch.column(IMAGE_KEY)
    found = {source: _found_in_rows(batch, source) for source in sources}
    arrays = []
    for column in columns:
        if column.kind == PREDICTIONS:
            lists = found[PredictionSource(column)].predictions
            arrays.append(pc.list_value_length(lists).cast(pa.int64()))
        elif _has_images(column.kind):
            arrays.append(_paths(_picked(batch, column), files, column, images))
        else:
            arrays.append(_fitted(column.kind, _picked(batch, column)))
    return Piece(arrays, list(found.values()))


def rows_fit(schema: pa.Schema, columns: Sequence[OutputColumn]) -> bool:
    """Whether the columns can be made of rows of a schema: not JSON text, which keeps what Arrow's columns do not."""
    texts = [column for column in columns if column.kind == JSON]
    names = {name for column in texts for name in column.others or (column.output,)}
    return names.isdisjoint(field.name for field in schema if not pa.types.is_null(field.type))


def _joined(parts: Sequence[Found]) -> Found:
    return Found(
        pa.concat_arrays([part.predictions for part in parts]),
        pa.concat_arrays([part.width for part in parts]),
        pa.concat_arrays([part.height for part in parts]),
    )


def _path_finder(images: ImageFinder, file: str) -> ImagePath:
    return lambda value, place: images.find(value, file, place)


def _found_in_values(values: Sequence[Any], source: PredictionSource) -> Found:
    lists = [source.rows(value) for value in values]
    sizes = [image_size(value) if rows is not None else (None, None) for value, rows in zip(values, lists, strict=True)]
    width, height = (pa.array([size[n] for size in sizes], pa.int64()) for n in (0, 1))
    return Found(pa.array(lists, pa.list_(DETECTION)), width, height)


def _found_in_rows(batch: pa.RecordBatch, source: PredictionSource) -> Found:
    values = _picked(batch, source.column)
    if source.detects:
        return Found(detection_lists(values), *image_sizes(values))
    if source.field is not None:
        values = field_of(values, source.field)
    if not pa.types.is_struct(values.type):
        return _found_in_values([None] * len(values), source)
    fields = [field for field in values.type if field.name in FIELDS]
    parts = [field_of(values, field.name) for field in fields]
    slim = pa.StructArray.from_arrays(parts, fields=fields, mask=values.is_null())
    return _found_in_values(slim.to_pylist(), source)


def _picked(batch: pa.RecordBatch, column: OutputColumn) -> pa.Array:
    if column.output not in batch.schema.names:
        return pa.nulls(batch.num_rows)
    values = batch.column(column.output)
    return values if column.field is None else field_of(values, column.field)


def _has_images(kind: Kind) -> bool:
    parts = [kind.item] if kind.item is not None else [field for _, field in kind.fields]
    return kind == IMAGE or any(_has_images(part) for part in parts)


def _paths(values: pa.Array, files: pa.Array, column: OutputColumn, images: ImageFinder) -> pa.Array:
    rows = zip(values.to_pylist(), files.to_pylist(), strict=True)
    if column.kind == IMAGE:
        held = [None if value is None else images.find(value, file, column.source) for value, file in rows]
    else:
        held = [convert(column.kind, value, _path_finder(images, file), column.source) for value, file in rows]
    return pa.array(held, arrow_type(column.kind))


def _fitted(kind: Kind, values: pa.Array) -> pa.Array:
    """Values of a kind that ``kind`` holds, as its column holds them."""
    wanted = arrow_type(kind)
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), wanted)
    if kind == EMPTY:
        return pc.if_else(values.is_valid(), pa.scalar("{}"), pa.scalar(None, pa.string()))
    if kind.item is not None:
        return relisted(values, _fitted(kind.item, values.flatten()))
    if kind.fields:
        parts = [_fitted(field, field_of(values, name)) for name, field in kind.fields]
        return pa.StructArray.from_arrays(parts, fields=list(wanted), mask=values.is_null())
    return values.cast(wanted, safe=False)
