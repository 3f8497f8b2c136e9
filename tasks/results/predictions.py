"""Predictions as Roboflow's engine writes them, and the rows they become.

Shape: ``{"image": {"width", "height"}, "predictions": [{"x", "y", "width", "height", "confidence", "class",
…}]}``, in pixels, ``x`` and ``y`` being a box's centre. The image's size is null where nothing was
detected.
"""

from __future__ import annotations

import json
import math
from typing import Any

_BOX = ("x", "y", "width", "height")
_KNOWN = frozenset(
    {
        *_BOX,
        "confidence",
        "class",
        "class_id",
        "detection_id",
        "points",
        "keypoints",
        "tracker_id",
        "data",
        "parent_id",
    }
)


def is_predictions(value: Any) -> bool:
    """Whether a value is a set of detections; classifications, which have no boxes, are not."""
    if not isinstance(value, dict) or "image" not in value or "top" in value:
        return False
    found = value.get("predictions")
    return isinstance(found, list) and all(_is_detection(item) for item in found)


def image_size(value: dict[str, Any]) -> tuple[int | None, int | None]:
    """Width and height in pixels of the image that detections refer to, where they say so."""
    image = value["image"]
    if not isinstance(image, dict):
        return None, None
    return _integer(image.get("width")), _integer(image.get("height"))


def detection_row(detection: dict[str, Any]) -> dict[str, Any]:
    """The columns of ``predictions.parquet`` that come from the detection itself."""
    extra = {name: item for name, item in detection.items() if name not in _KNOWN}
    return {
        **{name: _number(detection.get(name)) for name in (*_BOX, "confidence")},
        **{name: _text(detection.get(name)) for name in ("detection_id", "class", "data", "parent_id")},
        "class_id": _integer(detection.get("class_id")),
        "tracker_id": _integer(detection.get("tracker_id")),
        "points": _points(detection.get("points"), _point),
        "keypoints": _points(detection.get("keypoints"), _keypoint),
        "extra": _text(extra) if extra else None,
    }


def _is_detection(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return all(name in item and (item[name] is None or _is_number(item[name])) for name in _BOX)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    if not _is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and abs(number) < 1 << 53 else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _points(value: Any, convert: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, list):
        return None
    return [convert(item) for item in value if isinstance(item, dict)]


def _point(item: dict[str, Any]) -> dict[str, Any]:
    return {"x": _number(item.get("x")), "y": _number(item.get("y"))}


def _keypoint(item: dict[str, Any]) -> dict[str, Any]:
    return {
        **_point(item),
        "confidence": _number(item.get("confidence")),
        "class": _text(item.get("class")),
        "class_id": _integer(item.get("class_id")),
    }
