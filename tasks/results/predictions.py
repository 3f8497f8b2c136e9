"""Predictions as Roboflow's engine writes them, and the rows they become.

Shape: ``{"image": {"width", "height"}, "predictions": [{"x", "y", "width", "height", "confidence", "class",
…}]}``, in pixels, ``x`` and ``y`` being a box's centre. The image's size is null where nothing was
detected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

BOX = ("x", "y", "width", "height")
DETECTION_INTEGERS = ("class_id", "tracker_id")
DETECTION_NUMBERS = frozenset({*BOX, "confidence", *DETECTION_INTEGERS})
DETECTION_TEXTS = ("detection_id", "class", "data", "parent_id")
KNOWN_FIELDS = DETECTION_NUMBERS.union(DETECTION_TEXTS, ("points", "keypoints"))
MOST_EXACT = 1 << 53
"""Whole numbers below it are exact as floats, and so in JSON."""


def is_predictions(value: Any) -> bool:
    """Whether a value is a set of detections; classifications, which have no boxes, are not."""
    if not isinstance(value, dict) or "image" not in value or "top" in value:
        return False
    found = value.get("predictions")
    return isinstance(found, list) and all(_is_detection(item) for item in found)


def image_size(value: dict[str, Any]) -> tuple[int | None, int | None]:
    """Width and height in pixels of the image that predictions refer to, where they say so."""
    image = value.get("image")
    if not isinstance(image, dict):
        return None, None
    return integer(image.get("width")), integer(image.get("height"))


def detection_row(detection: dict[str, Any]) -> dict[str, Any]:
    """The columns of ``predictions.parquet`` that come from the detection itself."""
    return {
        **{name: number(detection.get(name)) for name in (*BOX, "confidence")},
        **{name: integer(detection.get(name)) for name in DETECTION_INTEGERS},
        **{name: _text(detection.get(name)) for name in DETECTION_TEXTS},
        "points": _points(detection.get("points"), _point),
        "keypoints": _points(detection.get("keypoints"), _keypoint),
        "extra": extra_text({name: item for name, item in detection.items() if name not in KNOWN_FIELDS}),
    }


def number(value: Any) -> float | None:
    """A finite number, or ``None``."""
    if not _is_number(value):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def integer(value: Any) -> int | None:
    """A whole number that JSON holds exactly, or ``None``."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() and abs(found) < MOST_EXACT else None


def extra_text(fields: dict[str, Any]) -> str | None:
    """Fields without a column as one JSON object, in the order of their names; those that are null are left out."""
    said = {name: value for name, value in sorted(fields.items()) if value is not None}
    try:
        return _text(_plain(said)) if said else None
    except RecursionError:
        return _text(said)


def _is_detection(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return all(name in item and (item[name] is None or _is_number(item[name])) for name in BOX)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A value in the one spelling that JSON's numbers have here: 2 for 2.0, null for what is not finite."""
    match value:
        case float():
            whole = integer(value)
            return number(value) if whole is None else whole
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
    return value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _points(value: Any, convert: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]] | None:
    if not isinstance(value, list):
        return None
    return [convert(item) for item in value if isinstance(item, dict)]


def _point(item: dict[str, Any]) -> dict[str, Any]:
    return {"x": number(item.get("x")), "y": number(item.get("y"))}


def _keypoint(item: dict[str, Any]) -> dict[str, Any]:
    return {
        **_point(item),
        "confidence": number(item.get("confidence")),
        "class": _text(item.get("class")),
        "class_id": integer(item.get("class_id")),
    }
