"""What type a workflow's output has, found from its values.

Kinds form a lattice: :func:`join` gives the least kind that holds both of its arguments. It is commutative
and associative, so the columns of a table do not depend on the order in which results come in::

                    json                 anything, kept as JSON text
      ┌────────┬──────┴──┬───────┬──────────┬───────────┐
    float    bool      string  image   list, struct  predictions
      │
     int
      └────────┴─────────┴───────┴──────────┴───────────┘
                    null                 no value seen
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa

from tasks.results.predictions import is_predictions

MAX_FIELDS = 64
"""A struct of more fields is a dictionary in disguise and becomes JSON."""
MAX_DEPTH = 8
DEDUCTED_IMAGE = "<deducted_image>"
"""What Roboflow's tools leave in place of an image that was written to a file."""
IMAGE_TYPES = frozenset({"image", "base64"})
IMAGE_KEYS = frozenset({"type", "file", "value", "video_metadata"})
_INT64 = 1 << 63


@dataclass(frozen=True)
class Kind:
    """One element of the lattice.

    Attributes:
        name: ``null bool int float string image predictions list struct json``.
        item: kind of a list's items.
        fields: names and kinds of a struct's fields, sorted by name.
    """

    name: str
    item: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()


NULL = Kind("null")
BOOL = Kind("bool")
INT = Kind("int")
FLOAT = Kind("float")
STRING = Kind("string")
IMAGE = Kind("image")
PREDICTIONS = Kind("predictions")
JSON = Kind("json")
EMPTY = Kind("struct")
"""A struct that never had a field: parquet has none such, so its column is JSON."""
_NUMBERS = frozenset({INT, FLOAT})
_ARROW = {
    NULL: pa.string(),
    BOOL: pa.bool_(),
    INT: pa.int64(),
    FLOAT: pa.float64(),
    STRING: pa.string(),
    IMAGE: pa.string(),
    PREDICTIONS: pa.int64(),
    JSON: pa.string(),
}

ImagePath = Callable[[Any, str], str | None]
"""Finds the file of an image value: called with the value and its place such as ``annotated/0``."""


def list_of(item: Kind) -> Kind:
    """A list of ``item``; what a column cannot hold in a list makes the whole JSON."""
    return JSON if item in (JSON, PREDICTIONS) else Kind("list", item=item)


def struct_of(fields: dict[str, Kind]) -> Kind:
    """A struct of ``fields``, or JSON where a column cannot hold it."""
    if len(fields) > MAX_FIELDS or JSON in fields.values():
        return JSON
    return Kind("struct", fields=tuple(sorted(fields.items())))


def infer(value: Any, depth: int = 0) -> Kind:
    """The least kind that holds a JSON value."""
    if depth > MAX_DEPTH:
        return JSON
    match value:
        case None:
            return NULL
        case bool():
            return BOOL
        case int():
            return INT if -_INT64 <= value < _INT64 else JSON
        case float():
            return FLOAT if math.isfinite(value) else NULL
        case str():
            return IMAGE if value == DEDUCTED_IMAGE else STRING
        case list():
            return list_of(reduce(join, (infer(item, depth + 1) for item in value), NULL))
    if is_image(value):
        return IMAGE
    if is_predictions(value):
        return PREDICTIONS if depth <= 1 else JSON
    return struct_of({name: infer(item, depth + 1) for name, item in value.items()})


def join(one: Kind, other: Kind) -> Kind:
    """The least kind that holds both."""
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    if one in _NUMBERS and other in _NUMBERS:
        return FLOAT
    if one.item is not None and other.item is not None:
        return list_of(join(one.item, other.item))
    if one.name == other.name == "struct":
        left, right = dict(one.fields), dict(other.fields)
        names = left.keys() | right.keys()
        return struct_of({name: join(left.get(name, NULL), right.get(name, NULL)) for name in names})
    return JSON


def is_image(value: Any) -> bool:
    """Whether a value stands for an image rather than being data."""
    if isinstance(value, dict):
        return value.get("type") in IMAGE_TYPES and value.keys() <= IMAGE_KEYS
    return bool(value == DEDUCTED_IMAGE)


def arrow_type(kind: Kind) -> pa.DataType:
    """The column type for a kind."""
    if kind.item is not None:
        return pa.list_(arrow_type(kind.item))
    if kind.fields:
        return pa.struct([(name, arrow_type(field)) for name, field in kind.fields])
    return _ARROW[JSON if kind == EMPTY else kind]


def convert(kind: Kind, value: Any, image_path: ImagePath, place: str) -> Any:
    """``value`` as a column of ``kind`` holds it.

    Args:
        kind: a kind that holds the value.
        value: a JSON value.
        image_path: finds the file of an image.
        place: where the value stands, such as ``annotated/0``.
    """
    if value is None or kind == NULL:
        return None
    if kind in (JSON, EMPTY):
        return to_json(value)
    if kind == FLOAT:
        return float(value) if math.isfinite(value) else None
    if kind == IMAGE:
        return image_path(value, place)
    if kind == PREDICTIONS:
        return len(value["predictions"])
    if kind.item is not None:
        return [convert(kind.item, item, image_path, f"{place}/{n}") for n, item in enumerate(value)]
    if kind.fields:
        return {name: convert(k, value.get(name), image_path, f"{place}/{name}") for name, k in kind.fields}
    return value


def to_json(value: Any) -> str:
    """``value`` as compact JSON; numbers that JSON cannot write become null."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_finite(item) for item in value]
        case dict():
            return {name: _finite(item) for name, item in value.items()}
    return value
