"""Which files came out of an archive, so that a later process can see whether all are there still."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tasks.core.errors import local_fault
from tasks.core.files import appearing
from tasks.transfer.unpack import UnpackedFile


def note_members(note: Path, files: Iterable[UnpackedFile]) -> None:
    """Makes unpacked files durable and writes down what they are.

    Args:
        note: where that is written, a line of JSON each; its folder is made.
        files: as they were unpacked.

    Raises:
        LocalFault: the disk is full or the folder cannot be written.
    """
    try:
        os.sync()  # one flush for all: an archive may hold a hundred thousand
        note.parent.mkdir(exist_ok=True)
        with appearing(note) as partial, partial.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps([file.name, file.size]) + "\n" for file in files)
    except OSError as error:
        raise local_fault(error) from error


def are_there(note: Path, folder: Path) -> bool:
    """Whether everything that was unpacked into ``folder`` is there still, with its size."""
    try:
        with note.open(encoding="utf-8") as lines:
            return all(has_size(folder / name, size) for name, size in map(json.loads, lines))
    except (FileNotFoundError, ValueError):
        return False


def has_size(path: Path, size: int) -> bool:
    """Whether there is a regular file of so many bytes."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
