"""Sets of detections a column at a time; the same as :mod:`~tasks.results.predictions` gives one by one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.results.predictions import KNOWN_FIELDS, MOST_EXACT, extra_text
from tasks.results.schemas import DETECTION


def detection_lists(values: pa.Array) -> pa.ListArray:
    """A list of detections for each set, null where there is no set.

    Args:
        values: sets as Arrow's reader made them, of which :func:`tasks.results.conform.holds` is sure.
    """
    found = field_of(values, "predictions")
    if not pa.types.is_list(found.type):
        return pa.nulls(len(values), pa.list_(DETECTION))
    return relisted(found, _detections(found.flatten()))


def image_sizes(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Width and height in pixels of the images that predictions refer to."""
    image = field_of(values, "image")
    return integers(field_of(image, "width")), integers(field_of(image, "height"))


def field_of(values: pa.Array, name: str) -> pa.Array:
    """One field of objects, null where there is no object; nulls where they have no such field."""
    if pa.types.is_struct(values.type) and values.type.get_field_index(name) >= 0:
        return pc.struct_field(values, name)
    return pa.nulls(len(values))


def numbers(values: pa.Array) -> pa.Array:
    """Numbers as floats; whatever is no number is null."""
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return values.cast(pa.float64(), safe=False)
    return pa.nulls(len(values), pa.float64())


def integers(values: pa.Array) -> pa.Array:
    """Whole numbers that JSON holds exactly; whatever is none is null."""
    found = numbers(values)
    if found.null_count == len(found):
        return pa.nulls(len(found), pa.int64())
    whole = pc.and_(pc.equal(pc.floor(found), found), pc.less(pc.abs(found), float(MOST_EXACT)))
    return pc.if_else(whole, found, None).cast(pa.int64())


def _texts(values: pa.Array) -> pa.Array:
    return values if pa.types.is_string(values.type) else pa.nulls(len(values), pa.string())


def _detections(items: pa.Array) -> pa.StructArray:
    """The detections themselves as :data:`~tasks.results.schemas.DETECTION`."""
    columns = {name: field_of(items, name) for name in KNOWN_FIELDS}
    columns["extra"] = _extras(items)
    return pa.StructArray.from_arrays(
        [_as(field.type, columns[field.name]) for field in DETECTION], fields=list(DETECTION)
    )


def _as(wanted: pa.DataType, values: pa.Array) -> pa.Array:
    if pa.types.is_string(wanted):
        return _texts(values)
    if pa.types.is_list(wanted):
        return _points(wanted, values)
    return integers(values) if pa.types.is_integer(wanted) else numbers(values)


def _points(wanted: pa.DataType, values: pa.Array) -> pa.Array:
    if not pa.types.is_list(values.type):
        return pa.nulls(len(values), wanted)
    items = values.flatten()
    point = wanted.value_type
    fields = [_as(field.type, field_of(items, field.name)) for field in point]
    return relisted(values, pa.StructArray.from_arrays(fields, fields=list(point)))


def relisted(lists: pa.ListArray, items: pa.Array) -> pa.ListArray:
    """Lists of the same lengths as ``lists``, of other items."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    joined = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    # Without a buffer that says that none is null, which Arrow refuses beside a mask.
    offsets = pa.Array.from_buffers(pa.int32(), len(joined), [None, joined.buffers()[1]])
    return pa.ListArray.from_arrays(offsets, items, mask=lists.is_null() if lists.null_count else None)


def _extras(items: pa.Array) -> pa.Array:
    fields = items.type if pa.types.is_struct(items.type) else ()
    names = [field.name for field in fields if field.name not in KNOWN_FIELDS]
    if not names:
        return pa.nulls(len(items), pa.string())
    columns = [field_of(items, name).to_pylist() for name in names]
    texts = [extra_text(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    return pa.array(texts, pa.string())
