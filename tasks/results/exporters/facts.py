"""A first look at a run's predictions: their classes and shapes, before any image is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import BadInput
from tasks.core.options import DatasetOptions
from tasks.results.exporters.base import TRAIN, VALIDATION, Dataset
from tasks.results.exporters.classes import Classes, label_of, ordered
from tasks.results.exporters.geometry import CORNERS
from tasks.results.exporters.reading import ABOUT_IMAGE, IMAGE_COLUMNS, RunTables, batches, chooser, rows_of, schema_of
from tasks.results.schemas import OUTPUT_KEY

_BOX = ("x", "y", "width", "height")
_Ids = defaultdict[str, set[int | None]]


def look(run_dir: Path, options: DatasetOptions) -> Dataset:
    """What is known of a run's dataset before its first image is written.

    Args:
        run_dir: the run's folder.
        options: what was asked for.

    Raises:
        BadInput: an output was asked for that the workflow does not have.
        LocalFault: a table is damaged.
    """
    tables = RunTables(run_dir, options)
    _check_outputs(tables.results, options)
    seen = _Seen()
    for batch in _chosen(tables.predictions, options):
        seen.add(batch)
    return Dataset(
        run=run_dir.name,
        options=options,
        splits=(TRAIN, VALIDATION) if options.validation else (TRAIN,),
        images=pq.read_metadata(tables.results).num_rows,
        detections=Classes(ordered(seen.detections)),
        classifications=Classes(ordered(seen.classifications)),
        outlines=seen.outlines,
        keypoints={label: ordered(names) for label, names in sorted(seen.keypoints.items())},
        columns=_without(schema_of(tables.predictions), ABOUT_IMAGE),
        outputs=_without(schema_of(tables.results), IMAGE_COLUMNS),
    )


def keypoint_name(keypoint: dict[str, Any], position: int) -> str:
    """What a keypoint is called: its class, else its id, else its place in the list, counted from 0."""
    name, number = keypoint["class"], keypoint["class_id"]
    if name is not None and name.strip():
        return str(name)
    return f"point {position if number is None else number}"


class _Seen:
    def __init__(self) -> None:
        self.detections: _Ids = defaultdict(set)
        self.classifications: _Ids = defaultdict(set)
        self.outlines = False
        self.keypoints: defaultdict[str, _Ids] = defaultdict(lambda: defaultdict(set))

    def add(self, batch: pa.RecordBatch) -> None:
        boxed = pc.is_valid(batch.column("x"))
        for name in _BOX[1:]:
            boxed = pc.and_(boxed, pc.is_valid(batch.column(name)))
        named = pa.table({"class": batch.column("class"), "class_id": batch.column("class_id"), "boxed": boxed})
        for row in named.group_by(named.column_names).aggregate([]).to_pylist():
            ids = self.detections if row["boxed"] else self.classifications
            ids[label_of(row["class"])].add(row["class_id"])
        lengths = pc.list_value_length(batch.column("points"))
        self.outlines = self.outlines or (pc.max(lengths).as_py() or 0) >= CORNERS
        having = pc.greater(pc.fill_null(pc.list_value_length(batch.column("keypoints")), 0), 0)
        for row in rows_of(batch.select(["class", "keypoints"]).filter(having)):
            names = self.keypoints[label_of(row["class"])]
            for position, keypoint in enumerate(row["keypoints"]):
                names[keypoint_name(keypoint, position)].add(keypoint["class_id"])


def _chosen(predictions: Path, options: DatasetOptions) -> Iterator[pa.RecordBatch]:
    wanted = chooser(options)
    for batch in batches(predictions, ["output", "class", "class_id", *_BOX, "points", "keypoints"]):
        outputs = batch.column("output")
        chosen = [output for output in pc.unique(outputs).to_pylist() if wanted(output)]
        yield batch.filter(pc.is_in(outputs, value_set=pa.array(chosen, pa.string())))


def _without(columns: pa.Schema, others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in columns.names if name not in others)


def _check_outputs(results: Path, options: DatasetOptions) -> None:
    origins = [(field.metadata or {}).get(OUTPUT_KEY) for field in schema_of(results)]
    known = {origin.decode() for origin in origins if origin is not None}
    known |= {name.partition("/")[0] for name in known}
    unknown = sorted(set(options.outputs) - known)
    # Where no image was processed, no output is known either.
    if unknown and known:
        raise BadInput(f"the workflow has no output {unknown[0]!r}: it has {', '.join(sorted(known))}")
