"""Finding the image files that a workflow's outputs stand for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from tasks.results.exported import part_folders
from tasks.transfer.unpack import UnsafeArchive, safe_name

SUFFIXES = (".jpg", ".jpeg", ".png")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/){0,5}[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
"""Names that :func:`safe_name` gives back as they are, told at a fraction of its cost."""


class ImageFinder:
    """Looks image outputs up in the export folder.

    Args:
        export_dir: the run's export folder; paths are given relative to the folder it lies in.
    """

    def __init__(self, export_dir: Path) -> None:
        self._run_dir = str(export_dir.parent)
        self._folders = [f"{export_dir.name}/{part}" for part in part_folders(export_dir)]

    def find(self, value: Any, file: str, place: str) -> str | None:
        """The path of an image below the run folder, with slashes, or ``None`` where it was not kept.

        Args:
            value: what stands for the image; may name the file under ``file``.
            file: name of the source image, as staged.
            place: output, with indices or fields behind slashes: ``crops/0``.
        """
        for name in _candidates(value, f"{file}/{place}"):
            for folder in self._folders:
                path = f"{folder}/{name}"
                if os.path.isfile(f"{self._run_dir}/{path}"):  # noqa: PTH113 - pathlib keeps every name for good
                    return path
        return None


def _candidates(value: Any, place: str) -> list[str]:
    named = value.get("file") if isinstance(value, dict) else None
    names = [named] if isinstance(named, str) else [place + suffix for suffix in SUFFIXES]
    found = []
    for name in names:
        try:
            found.append(name if _PLAIN.fullmatch(name) else safe_name(name))
        except UnsafeArchive:
            continue
    return found
