"""Whether columns that Arrow's reader made hold what reading the exact way would have found.

Every function here errs on one side only: what it lets pass is sure, and what it does not let pass is read again the
exact way.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.results.kinds import DEDUCTED_IMAGE, IMAGE_KEYS, IMAGE_TYPES, Kind
from tasks.results.predictions import BOX, DETECTION_NUMBERS, DETECTION_TEXTS

_WHOLE = float(1 << 63)
_IMAGE_TYPES = pa.array(sorted(IMAGE_TYPES))


def holds(kind: Kind, values: pa.Array) -> bool:
    """Whether the kind of every value is sure to be ``kind`` or one that it holds."""
    if _is_null(values):
        return kind.name != "json"
    found = values.type
    match kind.name:
        case "bool":
            return bool(pa.types.is_boolean(found))
        case "int":
            return bool(pa.types.is_integer(found))
        case "float":
            return _are_numbers(values)
        case "string":
            return pa.types.is_string(found) and not _any(pc.equal(values, DEDUCTED_IMAGE))
        case "image":
            return _are_images(values)
        case "predictions":
            return _are_predictions(values.drop_null())
        case "list":
            return pa.types.is_list(found) and kind.item is not None and holds(kind.item, values.flatten())
        case "struct":
            return pa.types.is_struct(found) and _is_data(kind, values.drop_null())
    return False


def _is_null(values: pa.Array) -> bool:
    return bool(pa.types.is_null(values.type))


def _any(values: pa.Array) -> bool:
    return pc.any(values).as_py() is True


def _all(values: pa.Array) -> bool:
    return pc.all(values, min_count=0).as_py() is True


def _are_plain(values: pa.Array) -> bool:
    """Whether numbers are finite, and none was written as a whole number that takes more than 64 bits."""
    return not pa.types.is_floating(values.type) or _all(pc.less(pc.abs(values), _WHOLE))


def _are_images(values: pa.Array) -> bool:
    if pa.types.is_string(values.type):
        return _all(pc.equal(values, DEDUCTED_IMAGE))
    if not pa.types.is_struct(values.type):
        return False
    types = _field(values.drop_null(), "type")
    if types is None or not pa.types.is_string(types.type) or not IMAGE_KEYS.issuperset(_names(values)):
        return False
    return _all(pc.is_in(types, value_set=_IMAGE_TYPES))


def _is_data(kind: Kind, values: pa.Array) -> bool:
    """Whether objects are neither images nor sets of detections, and their fields of the kinds that they should be."""
    types = _field(values, "type")
    if types is not None and pa.types.is_string(types.type) and _any(pc.is_in(types, value_set=_IMAGE_TYPES)):
        return False
    if _may_be_predictions(values):
        return False
    kinds = dict(kind.fields)
    return all(name in kinds and holds(kinds[name], values.field(name)) for name in _names(values))


def _may_be_predictions(values: pa.Array) -> bool:
    found = _field(values, "predictions")
    if found is None or "image" not in _names(values) or not pa.types.is_list(found.type):
        return False
    top = _field(values, "top")
    return top is None or top.null_count > 0


def _are_predictions(values: pa.Array) -> bool:
    if not pa.types.is_struct(values.type):
        return False
    image, found = _field(values, "image"), _field(values, "predictions")
    if image is None or found is None or "top" in _names(values):
        return False
    if not pa.types.is_struct(image.type) or image.null_count or not pa.types.is_list(found.type) or found.null_count:
        return False
    return all(_are_numbers(image.field(name)) for name in _names(image)) and _are_detections(found.flatten())


def _are_detections(items: pa.Array) -> bool:
    if len(items) == 0:
        return True
    if not pa.types.is_struct(items.type):
        return False
    boxes = [_field(items, name) for name in BOX]
    if any(box is None or box.null_count or not _are_numbers(box) for box in boxes):
        return False
    return all(_is_detection_field(name, items.field(name)) for name in _names(items))


def _is_detection_field(name: str, values: pa.Array) -> bool:
    """Whether a field can be taken over in bulk."""
    if _is_null(values):
        return True
    if name in DETECTION_NUMBERS:
        return _are_numbers(values)
    if name in DETECTION_TEXTS:
        return bool(pa.types.is_string(values.type))
    if name in ("points", "keypoints"):
        return pa.types.is_list(values.type) and _are_points(values.flatten())
    return _is_flat(values)


def _are_points(items: pa.Array) -> bool:
    if len(items) == 0:
        return True
    if not pa.types.is_struct(items.type) or items.null_count:
        return False
    fields = {name: items.field(name) for name in _names(items)}
    texts = fields.pop("class", None)
    if texts is not None and not _is_null(texts) and not pa.types.is_string(texts.type):
        return False
    return all(_are_numbers(values) for values in fields.values())


def _are_numbers(values: pa.Array) -> bool:
    return (
        _is_null(values)
        or pa.types.is_integer(values.type)
        or (pa.types.is_floating(values.type) and _are_plain(values))
    )


def _is_flat(values: pa.Array) -> bool:
    """Whether a value without a column of its own is no object and holds none."""
    if pa.types.is_list(values.type):
        return _is_flat(values.flatten())
    return not pa.types.is_struct(values.type) and _are_plain(values)


def _names(values: pa.Array) -> list[str]:
    return [field.name for field in values.type]


def _field(values: pa.Array, name: str) -> pa.Array | None:
    return values.field(name) if name in _names(values) else None
