"""Schemas of the parquet files that hold results, versioned.

The version of a file stands in its metadata under ``darkroom.schema`` as ``<table>/<version>``. A version
changes when a fixed column changes its name, type or meaning; the workflow's own columns in
``results.parquet`` follow the workflow and are not part of it. All coordinates are pixels of the image as
the workflow saw it; ``x`` and ``y`` of a box are its centre.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

SCHEMA_VERSION = 2
SCHEMA_KEY = "darkroom.schema"
OUTPUT_KEY = b"darkroom.output"
"""Metadata of a workflow column: the output it comes from."""
KIND_KEY = b"darkroom.kind"
"""Metadata of a workflow column: ``value``, ``count`` (of predictions), ``image`` (a path) or ``json``."""

POINT = pa.struct([("x", pa.float64()), ("y", pa.float64())])
KEYPOINT = pa.struct(
    [
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("confidence", pa.float64()),
        ("class", pa.string()),
        ("class_id", pa.int64()),
    ]
)


def _metadata(table: str) -> dict[str, str]:
    return {SCHEMA_KEY: f"{table}/{SCHEMA_VERSION}"}


RESULT_FIELDS = (
    pa.field("file", pa.string(), nullable=False),  # name as staged, unique in the run
    pa.field("source_key", pa.string(), nullable=False),  # name below the source's root
    pa.field("frame", pa.int64()),  # number in the video, from 0; null for an image
    pa.field("width", pa.int64()),  # pixels
    pa.field("height", pa.int64()),
)

DETECTION = pa.struct(
    [
        ("detection_id", pa.string()),
        ("class", pa.string()),
        ("class_id", pa.int64()),
        ("confidence", pa.float64()),  # 0 to 1
        ("x", pa.float64()),  # the box is null where an image as a whole was classified
        ("y", pa.float64()),
        ("width", pa.float64()),
        ("height", pa.float64()),
        ("points", pa.list_(POINT)),  # outline of an instance
        ("keypoints", pa.list_(KEYPOINT)),
        ("tracker_id", pa.int64()),
        ("data", pa.string()),  # what a barcode or QR code says
        ("parent_id", pa.string()),
        ("extra", pa.string()),  # JSON of fields that have no column here
    ]
)
"""What a prediction says of itself."""

_IMAGE_SIZE = (pa.field("image_width", pa.int64()), pa.field("image_height", pa.int64()))
_DETECTION_FIELDS = list(DETECTION)

PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("source_key", pa.string(), nullable=False),
        pa.field("frame", pa.int64()),  # null for an image
        pa.field("time_offset", pa.float64()),  # seconds from the video's begin; null for an image
        pa.field("output", pa.string(), nullable=False),  # the workflow's output
        *_DETECTION_FIELDS[:8],
        *_IMAGE_SIZE,
        *_DETECTION_FIELDS[8:],
    ],
    metadata=_metadata("predictions"),
)

FAILURES_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("source_key", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # failed or rejected
        pa.field("step", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ],
    metadata=_metadata("failures"),
)


def results_schema(outputs: Iterable[pa.Field]) -> pa.Schema:
    """The schema of ``results.parquet`` for a workflow with these columns."""
    return pa.schema([*RESULT_FIELDS, *outputs], metadata=_metadata("results"))
