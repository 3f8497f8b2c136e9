"""Waiting for real conditions, bounded in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
PATIENTLY = 0.25
"""Between looks that cost a server, or this machine, something."""


def wait_for(look: Callable[[], T], what: str, timeout: float = 45.0, pause: float = POLL_SECONDS) -> T:
    """Polls ``look`` until it gives something true, and gives that; ``pause`` is seconds between looks.

    Raises:
        AssertionError: nothing true came within ``timeout`` seconds of waiting for ``what``.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}, last seen: {found!r}")
        time.sleep(pause)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not collected by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
