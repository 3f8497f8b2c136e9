"""What of a service's answers is left out, because it would do harm."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tasks.transfer.download import UNFINISHED
from tasks.transfer.unpack import UnsafeArchive, safe_name

MOST_TOLD = 10


def plain_name(name: str) -> str:
    """``name`` where it can be a file in a folder that a download goes to.

    Raises:
        UnsafeArchive: it is no plain file name, or one that downloads under way have.
    """
    safe_name(name)
    if "/" in name:
        raise UnsafeArchive(f"the name {name[:200]!r} is refused: separator in the name")
    if name.endswith(UNFINISHED):
        raise UnsafeArchive(f"the name {name[:200]!r} is refused: reserved name")
    return name


class Refusals:
    """Counts what is left out and tells of the first few; used by several threads.

    Args:
        tell: given a line for the person who started the run.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self.count = 0

    def add(self, reason: str) -> None:
        """One more; ``reason`` names it."""
        with self._lock:
            self.count += 1
            told = self.count <= MOST_TOLD
        if told:
            self._tell(f"left out of the export: {reason}")

    def conclude(self) -> None:
        """Tells how many were not told of."""
        if self.count > MOST_TOLD:
            self._tell(f"left out of the export: {self.count - MOST_TOLD} more")
