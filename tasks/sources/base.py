"""Where media lies, seen from the pipeline: one small interface, one file a backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol, runtime_checkable

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
        size: bytes, or ``None`` where only fetching would tell.
        etag: the store's version tag, or ``None``; for local files size and time do its work.
        modified: last change in UTC, or ``None`` where the store does not say; never invented.
        checksum: ``md5:…`` or ``crc32c:…`` in hexadecimal, where the listing gives one for free.
    """

    key: str
    size: int | None
    etag: str | None
    modified: datetime | None
    checksum: str | None = None


class Source(Protocol):
    """A place that holds media."""

    url: str
    """How the user names it, without secrets."""
    is_local: bool
    """Whether opening an object costs next to nothing, so that staging looks inside each."""
    by_extension: bool
    """Whether only media extensions count; false where the user's pattern names the files by their extension."""

    def check(self) -> None:
        """Looks whether the place can be used, with as little as will tell; raises like :meth:`list`."""

    def list(self) -> Iterator[MediaObject]:
        """Every object, as a stream, in the same order each time as far as the place itself stays the same.

        Raises:
            BadInput: the place is not there, or may not be read.
        """

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The object's bytes from ``offset`` on.

        Raises:
            SourceChanged: it is not what was listed any more.
        """


@runtime_checkable
class ReferenceSource(Source, Protocol):
    """A source whose objects a platform can fetch by itself, from URLs made here."""

    pins_versions: bool
    """Whether a URL leads to the very version that was listed, or to nothing."""
    only_by_reference: bool
    """Whether nothing but the URLs is known, not even sizes: such files cannot be uploaded from here."""

    def endpoint(self) -> str:
        """Scheme and host that the URLs lead to, such as ``https://bucket.s3.amazonaws.com``."""

    def longest_lifetime(self) -> float | None:
        """Seconds for which URLs made now can be valid at most, as the credentials have it; ``None``: no such end."""

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """A URL for each of ``items``, which come in listing order; they are secrets.

        Args:
            items: what to sign.
            seconds: how long the URLs are to be valid.

        Raises:
            BadInput: the credentials cannot sign.
        """
