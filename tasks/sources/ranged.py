"""An object of a store read as a file: one bounded range a request, so that memory stays flat."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from tasks.core.errors import ConnectionFailed

PIECE_BYTES = 8 << 20
"""Most bytes of one range."""
_BUFFER = 1 << 16

Fetch = Callable[[int, int], bytes]
"""The bytes from a start up to, not including, a stop; ``(0, 0)`` asks for all of an empty object."""


def open_ranged(fetch: Fetch, size: int, offset: int = 0, piece: int = PIECE_BYTES) -> BinaryIO:
    """A file over ``fetch``, whose first range is fetched at once: what is gone or may not be read shows on opening.

    Args:
        fetch: gets one range; its errors pass through.
        size: bytes of the whole object.
        offset: where to begin.
        piece: most bytes of one range.
    """
    return cast(BinaryIO, io.BufferedReader(_Ranges(fetch, size, offset, piece), _BUFFER))


class _Ranges(io.RawIOBase):
    def __init__(self, fetch: Fetch, size: int, offset: int, piece: int) -> None:
        self._fetch = fetch
        self._size = size
        self._next = offset
        self._piece = piece
        self._rest = memoryview(b"")
        if offset < size:
            self._advance()
        elif size == 0:
            fetch(0, 0)

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io.BufferedReader passes memoryviews
        if not self._rest and self._next < self._size:
            self._advance()
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _advance(self) -> None:
        piece = self._fetch(self._next, min(self._next + self._piece, self._size))
        if not piece:
            raise ConnectionFailed(f"only {self._next} of {self._size} B came: run the same command again")
        self._next += len(piece)
        self._rest = memoryview(piece)
