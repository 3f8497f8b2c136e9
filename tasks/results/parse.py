"""Reading one result: the exact way, a JSON value at a time.

:mod:`~tasks.results.fast` reads whole blocks of lines at once and leaves to this module what it cannot read in just
the same way.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

IMAGE_KEY = "image"
"""The field that names the file, as the export step of Batch Processing writes it."""
MAX_RESULT_BYTES = 64 * 1024**2
"""A longer line or file is not read."""
MAX_OUTPUTS = 512
"""No workflow has more; a result of more is none."""


@dataclass(frozen=True)
class Result:
    """What the workflow gave for one image."""

    file: str
    """Name as staged."""
    outputs: dict[str, Any]
    """JSON values by output name, in the order of the workflow."""


class Unreadable(ValueError):
    """A result that is not one; the message says why."""


def parse_result(data: bytes) -> Result:
    """The result that stands in a line.

    Raises:
        Unreadable: it is no JSON object that names its file.
    """
    return result_of(parse_json(data))


def result_of(value: Any) -> Result:
    """The result that a JSON value is; takes the value over.

    Raises:
        Unreadable: it is no object that names its file.
    """
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    file = value.pop(IMAGE_KEY, None)
    if not isinstance(file, str) or not file:
        raise Unreadable(f"no {IMAGE_KEY!r} that names the file")
    if len(value) > MAX_OUTPUTS:
        raise Unreadable(f"more than {MAX_OUTPUTS} outputs")
    return Result(file, value)


def parse_json(data: bytes) -> Any:
    """The JSON value that ``data`` holds; what JSON cannot say (NaN, infinities) is null.

    Raises:
        Unreadable: it is not JSON, or too long.
    """
    if len(data) > MAX_RESULT_BYTES:
        raise Unreadable(f"longer than {MAX_RESULT_BYTES} bytes")
    try:
        # NaN and the infinities are no JSON, but are written by many a service.
        # Decoded here: the library would let half characters pass.
        value = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _name: None, parse_float=_finite)
        return _without_surrogates(value) if b"\\u" in data else value
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error


def _finite(text: str) -> float | None:
    """A number that is too large for a float is null, as infinity is."""
    value = float(text)
    return value if math.isfinite(value) else None


def _without_surrogates(value: Any) -> Any:
    """Half characters, which JSON can spell and UTF-8 cannot, become question marks."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_without_surrogates(item) for item in value]
        case dict():
            return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value
