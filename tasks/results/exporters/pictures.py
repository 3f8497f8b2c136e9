"""The images themselves: linked, or copied from their source, beside the annotations."""

from __future__ import annotations

import shutil
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from PIL import Image

from tasks.core.errors import BadInput, LocalFault, Terminal
from tasks.core.options import AskedImages
from tasks.core.threads import GRACE_SECONDS, in_background
from tasks.results.exporters.base import Item
from tasks.results.exporters.target import Target

GONE = "image file that its source no longer gives"
FRAME = "image file of a video's frame"
FETCHED_AHEAD = 8
"""Images that are fetched at the same time."""
_CHUNK_BYTES = 1 << 20
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that lay a picture on its side."""


class SourceImages(Protocol):
    """Where a run's source images can be had again."""

    def open_source(self, source_key: str) -> AbstractContextManager[IO[bytes]]:
        """Opens an image; called from several threads at a time.

        Raises:
            OSError, Terminal: it is not there any more; it is left out and counted.
            Transient, BadInput, LocalFault: these end the export.
        """

    def local_path(self, source_key: str) -> Path | None:
        """The image's file, or ``None`` where the source is not on this machine."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image's file, ready to join the dataset, or why there is none."""

    path: Path | None = None
    missing: str = ""


class Pictures:
    """The pictures of one dataset.

    Args:
        wanted: ``none``, ``link`` or ``copy``.
        source: where they come from.
        target: the dataset; its scratch folder takes copies until they are placed.
    """

    def __init__(self, wanted: AskedImages, source: SourceImages, target: Target) -> None:
        self._wanted = wanted
        self._source = source
        self._target = target

    def beside(self, items: Iterator[Item]) -> Generator[tuple[Item, Picture], None, None]:
        """Each item with its picture; an item of unknown size learns it from there.

        Raises:
            BadInput: links were asked for and the source is not on this machine.
        """
        if self._wanted == "copy":
            pairs = self._fetched(items)
        else:
            pairs = ((item, self._linked(item) if self._wanted == "link" else Picture()) for item in items)
        with closing(pairs):
            for item, picture in pairs:
                yield _sized(item, picture.path), picture

    def place(self, picture: Picture, names: Sequence[str]) -> bool:
        """Puts a picture where it belongs in the dataset; says whether it lies there now."""
        if picture.path is None:
            return False
        if self._wanted == "link":
            for name in names:
                self._target.link(name, picture.path)
        else:
            self._put(picture.path, names)
        return bool(names)

    def _put(self, path: Path, names: Sequence[str]) -> None:
        for name in names[1:]:
            copy = self._target.scratch()
            shutil.copyfile(path, copy)
            self._target.put(name, copy)
        if names:
            self._target.put(names[0], path)
        else:
            path.unlink()

    def _linked(self, item: Item) -> Picture:
        if item.frame is not None:
            return Picture(missing=FRAME)
        path = self._source.local_path(item.source_key)
        if path is None:
            raise BadInput("images cannot be linked, as the source is not on this machine: ask for copies")
        return Picture(path.absolute()) if path.is_file() else Picture(missing=GONE)

    def _fetched(self, items: Iterator[Item]) -> Generator[tuple[Item, Picture], None, None]:
        """Pictures in the order of the items, while the next few are under way."""
        ahead: deque[tuple[Item, Future[Picture]]] = deque()
        try:
            for item in items:
                ahead.append((item, in_background(partial(self._fetch, item, self._target.scratch()))))
                if len(ahead) == FETCHED_AHEAD:
                    yield _next(ahead)
            while ahead:
                yield _next(ahead)
        finally:
            # What hangs on a network longer than that writes into a file that nobody has.
            wait([future for _, future in ahead], timeout=GRACE_SECONDS)

    def _fetch(self, item: Item, path: Path) -> Picture:
        if item.frame is not None:
            return Picture(missing=FRAME)
        with path.open("wb") as file:
            try:
                for chunk in self._chunks(item.source_key):
                    file.write(chunk)
            except _GoneError:
                return Picture(missing=GONE)
        return Picture(path)

    def _chunks(self, source_key: str) -> Iterator[bytes]:
        try:
            with self._source.open_source(source_key) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except (BadInput, LocalFault):
            raise
        except (OSError, Terminal) as error:
            raise _GoneError from error


class _GoneError(Exception):
    """Tells a source that cannot be read from a disk that cannot be written."""


def _next(ahead: deque[tuple[Item, Future[Picture]]]) -> tuple[Item, Picture]:
    item, future = ahead.popleft()
    return item, future.result()


def _sized(item: Item, path: Path | None) -> Item:
    if path is None or (item.width is not None and item.height is not None):
        return item
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to do without the size
            with Image.open(path) as image:
                width, height = image.size
                if image.getexif().get(_ORIENTATION) in _TURNED:
                    # Workflows see pictures upright.
                    width, height = height, width
    except Exception:  # noqa: BLE001 - Pillow raises many kinds of errors for files that are no images
        return item
    return replace(item, width=width, height=height)
