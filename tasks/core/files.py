"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Gives a path to write to; on success the file there is flushed to disk and renamed to ``target``.

    A failure leaves ``target`` as it was. Only one process writes a target at a time (runs are locked), so the
    temporary name is fixed and a leftover of a killed process is simply overwritten.
    """
    partial = target.with_name(target.name + ".part")
    yield partial
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: Path, text: str) -> None:
    """Writes ``text`` as UTF-8 so that it appears whole or not at all."""
    with appearing(target) as partial:
        partial.write_text(text, encoding="utf-8")
