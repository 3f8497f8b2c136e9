"""Where media lies, seen from the pipeline: one small interface, one file a backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from tasks.core.errors import Terminal

IMAGE_EXTENSIONS = frozenset({".bmp", ".dib", ".jpeg", ".jpg", ".jpe", ".jp2", ".png", ".tif", ".tiff", ".webp"})
"""What counts as an image by its name, in any case."""


class SourceChanged(Terminal):
    """An object is not what was listed any more; the text is the reason, for the failure table."""


@dataclass(frozen=True, slots=True)
class MediaObject:
    """One object of a source.

    Attributes:
        key: name below the source's root, ``/``-separated.
        size: bytes.
        etag: the store's version tag, or ``None``; for local files size and time do its work.
        modified: last change in UTC, or ``None`` where the store does not say; never invented.
    """

    key: str
    size: int
    etag: str | None
    modified: datetime | None


class Source(Protocol):
    """A place that holds media."""

    url: str
    """How the user names it, without secrets."""

    def list(self) -> Iterator[MediaObject]:
        """Every object, as a stream, in the order of the keys."""

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The object's bytes from ``offset`` on.

        Raises:
            SourceChanged: it is not what was listed any more.
        """
