"""The contact sheet: which images are shown, and with what."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import DarkroomError, Transient
from tasks.results.report.boxes import Found, find_predictions
from tasks.results.report.model import ContactImage
from tasks.results.report.pictures import Picture, Size, shrink
from tasks.results.report.text import number
from tasks.results.schemas import KIND_KEY
from tasks.results.writer import read_batches

LARGE = Size(side=1024, bytes=120_000)
"""24 of them, two small ones with each and base64 make about 6 MB at most."""
SMALL = Size(side=480, bytes=30_000)
OUTPUTS_SHOWN = 2
VALUES_SHOWN = 8
_FIXED = ("file", "source_key", "width", "height", "frame")
_ASPECT_TOLERANCE = 0.03

OpenSource = Callable[[str], IO[bytes]]
"""Opens a source image by its key."""


@dataclass(frozen=True)
class _Columns:
    """The workflow's columns of ``results.parquet`` that the sheet uses."""

    images: tuple[str, ...]
    values: tuple[str, ...]


class _Sources:
    """Small copies of source images, as far as they can be had."""

    def __init__(self, open_source: OpenSource | None) -> None:
        self._open = open_source

    def picture(self, key: str) -> Picture | None:
        if self._open is None:
            return None
        try:
            with self._open(key) as file:
                return shrink(file, LARGE)
        except Transient:
            self._open = None  # each further image would wait as long for a place that does not answer
        except (OSError, DarkroomError):
            pass  # an image may change or go away after its run
        return None


def contact_sheet(
    run_dir: Path, results: Path, predictions: Path, open_source: OpenSource | None, limit: int
) -> list[ContactImage]:
    """Up to ``limit`` images, in the order of ``results.parquet``.

    Half of them at most are picked for having predictions; all are spread evenly over the run. The source image is
    shown with its predictions, and the images that the workflow made beside it; where the source cannot be opened,
    the first of those takes its place.
    """
    if not results.exists():
        return []
    columns = _Columns(
        tuple(image_columns(results)[:OUTPUTS_SHOWN]),
        tuple(_columns_of_kind(results, b"value")[:VALUES_SHOWN]),
    )
    rows = list(_rows(results, columns, _pick(results, limit)))
    found = find_predictions(predictions, {(row["file"], row["frame"]) for row in rows})
    sources = _Sources(open_source)
    shown = (
        _contact_image(run_dir, row, columns, found.get((row["file"], row["frame"]), Found()), sources) for row in rows
    )
    return [image for image in shown if image.picture is not None or image.boxes]


def count_columns(results: Path) -> list[str]:
    """Columns of ``results.parquet`` that say how many predictions an image has, one for each output."""
    return _columns_of_kind(results, b"count")


def image_columns(results: Path) -> list[str]:
    """Columns of ``results.parquet`` that name images which the workflow made."""
    return _columns_of_kind(results, b"image")


def _columns_of_kind(results: Path, kind: bytes) -> list[str]:
    found = []
    for field in pq.read_schema(results):
        if (field.metadata or {}).get(KIND_KEY) == kind and not pa.types.is_nested(field.type):
            found.append(field.name)
    return found


def _pick(results: Path, limit: int) -> set[int]:
    """Row numbers to show."""
    counts = count_columns(results)
    total, having = 0, array("q")
    for batch in read_batches(results, ["file", *counts]):
        columns = [pc.fill_null(batch.column(name), 0) for name in counts]
        if columns:
            found = reduce(pc.add, columns)
            having.extend(total + row for row in pc.indices_nonzero(found).to_pylist())
        total += batch.num_rows
    chosen = set(_spread(having, limit // 2))
    others = [row for row in _spread(range(total), limit + len(chosen)) if row not in chosen]
    return chosen | set(_spread(others, limit - len(chosen)))


def _spread(rows: Sequence[int], count: int) -> list[int]:
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]


def _rows(results: Path, columns: _Columns, picked: set[int]) -> Iterator[dict[str, Any]]:
    """The picked rows; columns that the table does not have are ``None``."""
    names = list(dict.fromkeys((*_FIXED, *columns.images, *columns.values)))
    start = 0
    for batch in read_batches(results, names):
        wanted = [row - start for row in sorted(picked) if start <= row < start + batch.num_rows]
        there = [name for name in names if name in batch.schema.names]
        for row in batch.select(there).take(pa.array(wanted, pa.int64())).to_pylist():
            yield dict.fromkeys(names) | row
        start += batch.num_rows


def _contact_image(
    run_dir: Path, row: dict[str, Any], columns: _Columns, found: Found, sources: _Sources
) -> ContactImage:
    outputs = [(name, _output(run_dir, row[name], SMALL)) for name in columns.images]
    size = found.size or (row["width"], row["height"])
    picture = sources.picture(row["source_key"])
    if picture is None or not _fits(picture, size):
        # A picture that the boxes fit is worth more than the original.
        larger = (_output(run_dir, row[name], LARGE) for name in columns.images)
        picture = next((output for output in larger if output and _fits(output, size)), picture)
    if picture is not None and not _fits(picture, size):
        size = None, None
    width, height = size
    if not width or not height:
        width, height = (picture.width, picture.height) if picture else (4, 3)
    boxes = found.boxes(width, height)
    return ContactImage(
        caption=_caption(row, found),
        picture=picture,
        width=width,
        height=height,
        boxes=boxes,
        undrawn=found.detections - len(boxes),
        tags=tuple(found.tags),
        values=tuple((name, _shown(row[name])) for name in columns.values if row[name] is not None),
        outputs=tuple((name, output) for name, output in outputs if output is not None),
    )


def _fits(picture: Picture, size: tuple[int | None, int | None]) -> bool:
    """Whether boxes of an image of that size lie right on the picture."""
    width, height = size
    if not width or not height:
        return True
    return abs(picture.width * height / (picture.height * width) - 1) < _ASPECT_TOLERANCE


def _output(run_dir: Path, path: str | None, size: Size) -> Picture | None:
    if path is None:
        return None
    try:
        with (run_dir / path).open("rb") as file:
            return shrink(file, size)
    except OSError:
        return None


def _caption(row: dict[str, Any], found: Found) -> str:
    if row["frame"] is None:
        return str(row["source_key"])
    moment = "" if found.time_offset is None else f" ({found.time_offset:.2f} s)"
    return f"{row['source_key']}, frame {row['frame']}{moment}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)
