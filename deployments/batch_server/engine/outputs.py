"""What a chunk leaves: lines of plain JSON, and images in folders of safe names.

Used by the worker, in the engine's environment; imports nothing but the standard library.
"""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_NAME = 255
"""Bytes that a file system gives one name."""

ImageHandler = Callable[[Any, tuple[str, ...]], Any]
"""Takes an image and its place (output, key or index, …), gives the JSON value that stands for it."""


class CannotWrite(Exception):
    """A result could not be stored; no later one can be either."""


def to_plain(value: Any, image_type: type, on_image: ImageHandler, place: tuple[str, ...]) -> Any:
    """Turn what the engine serialised into what JSON can hold, losing nothing but NaN.

    Args:
        value: Any value: NumPy scalars and arrays, images, and unknown objects among them.
        image_type: The class of the engine's images.
        on_image: Called for each image.
        place: Where the value stands, beginning with the output's name.

    Returns:
        Plain JSON; NaN and infinities are `None`, unknown objects their text.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, image_type):
        return on_image(value, place)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): to_plain(item, image_type, on_image, (*place, str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item, image_type, on_image, (*place, str(index))) for index, item in enumerate(value)]
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return to_plain(value.tolist(), image_type, on_image, place)
    return str(value)


def safe_name(name: str, suffix: str = "") -> str:
    """Give a name for a file or folder: the same one where that is possible, else a hash of it."""
    encoded = name.encode("utf-8", "surrogatepass")
    plain = (
        name not in ("", ".", "..")
        and not any(sign in name for sign in "/\\\0")
        and not any("\ud800" <= sign <= "\udfff" for sign in name)
        and len(encoded) + len(suffix) <= LONGEST_NAME
    )
    return (name if plain else hashlib.sha256(encoded).hexdigest()[:32]) + suffix


class ChunkFiles:
    """The files of one chunk, appended to line by line.

    Sizes are reported with each image done, so that a later worker can go on exactly where a dead one
    stopped: what was written after the last report is cut off.
    """

    def __init__(self, folder: Path, results_bytes: int, failures_bytes: int) -> None:
        self._folder = folder
        try:
            self._results = _open_at(folder / "results.jsonl", results_bytes)
            self._failures = _open_at(folder / "failures.jsonl", failures_bytes)
        except OSError as error:
            raise CannotWrite(f"cannot store results: {error.strerror}") from error

    def add_result(self, record: dict[str, Any]) -> None:
        """Append one image's outputs."""
        _append(self._results, record)

    def add_failure(self, image: str, reason: str) -> None:
        """Append one image's failure."""
        _append(self._failures, {"image": image, "reason": reason})

    def add_image(self, image: str, place: tuple[str, ...], data: bytes) -> str:
        """Store one encoded image and give its path below `images/`."""
        *folders, last = (image, *place)
        parts = [*(safe_name(part) for part in folders), safe_name(last, ".jpg")]
        path = self._folder.joinpath("images", *parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise CannotWrite(f"cannot store images: {error.strerror}") from error
        return "/".join(parts)

    def sizes(self) -> dict[str, int]:
        """Bytes written so far."""
        return {"results_bytes": self._results.tell(), "failures_bytes": self._failures.tell()}

    def close(self) -> None:
        """Close both files."""
        self._results.close()
        self._failures.close()


def _open_at(path: Path, size: int) -> BinaryIO:
    file = path.open("ab")
    if file.tell() != size:
        file.truncate(size)
    return file


def _append(file: BinaryIO, record: dict[str, Any]) -> None:
    # Escaped to ASCII: names may hold line separators and halves of surrogate pairs.
    line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
    try:
        file.write(line)
        file.flush()
    except OSError as error:
        raise CannotWrite(f"cannot store results: {error.strerror}") from error
