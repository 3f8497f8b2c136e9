"""A bucket of a cloud store: what each backend provides, and the source that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject
from tasks.sources.patterns import Selection


class Bucket(Protocol):
    """One bucket or container; keys are whole. Safe to use from several threads.

    Every method raises errors of our tree alone: ``BadInput`` for what the user can change (no such bucket, wrong
    region, no permission, no or expired credentials, each with its likely cause and the variable to set),
    ``SourceChanged`` for one object that is gone or has another version, ``ConnectionFailed`` and ``ServiceBusy``
    once the library's own retries are used up.
    """

    scheme: str
    """``s3``, ``gs`` or ``az``."""
    name: str
    pins_versions: bool

    def list(self, prefix: str) -> Iterator[MediaObject]:
        """Every object whose key begins with ``prefix``, as a stream of pages."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below ``prefix``, which ends in ``/`` or is empty."""

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The bytes of the version that was listed, streamed."""

    def find(self, key: str) -> MediaObject | None:
        """The object of that key as it is now, or ``None``."""

    def upload(self, key: str, file: Path) -> None:
        """Writes a local file as the object ``key``, whole or not at all; an older one is replaced."""

    def remove(self, key: str) -> None:
        """Removes the object ``key``, if it is there."""

    def endpoint(self) -> str:
        """Scheme and host that presigned URLs lead to."""

    def longest_lifetime(self) -> float | None:
        """Seconds for which URLs made now can be valid at most; ``None``: as long as asked."""

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """URLs to GET the objects with; the credentials stay here."""


class BucketSource:
    """The objects of a bucket that a path or pattern selects.

    Args:
        bucket: where they lie.
        selection: which of them; keys of the source are relative to its root.
        left_out: what the keys of objects begin with that lie below but do not belong to it: the pipeline's own output.

    Raises:
        BadInput: the pipeline's output is to lie in the source itself.
    """

    is_local = False
    only_by_reference = False

    def __init__(self, bucket: Bucket, selection: Selection, left_out: Iterable[str] = ()) -> None:
        self._bucket = bucket
        self._selection = selection
        inside = [prefix for prefix in left_out if prefix.startswith(selection.root)]
        if selection.root in inside:
            raise BadInput(
                f"source {bucket.scheme}://{bucket.name}/{selection.text} is where the results go: "
                "give them a folder of their own"
            )
        self._left_out = tuple(inside)
        self.url = f"{bucket.scheme}://{bucket.name}/{selection.text}"
        self.by_extension = selection.by_extension
        self.pins_versions = bucket.pins_versions

    def list(self) -> Iterator[MediaObject]:
        """Every object selected, listed under the longest fixed prefix; a folder's own marker is none."""
        root = len(self._selection.root)
        for item in self._bucket.list(self._selection.prefix):
            if self._selection.matches(item.key) and not item.key.endswith("/") and not self._is_own(item.key):
                yield _renamed(item, item.key[root:])

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The object's bytes from ``offset`` on."""
        return self._bucket.open(self._whole(item), offset)

    def endpoint(self) -> str:
        """Scheme and host that the URLs lead to."""
        return self._bucket.endpoint()

    def longest_lifetime(self) -> float | None:
        """Seconds that the credentials give URLs made now at most."""
        return self._bucket.longest_lifetime()

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """A URL for each object."""
        return self._bucket.presign((self._whole(item) for item in items), seconds)

    def check(self) -> None:
        """Asks for the beginning of the listing, whatever is in it."""
        next(self._bucket.list(self._selection.prefix), None)

    def _is_own(self, key: str) -> bool:
        return bool(self._left_out) and key.startswith(self._left_out)

    def _whole(self, item: MediaObject) -> MediaObject:
        return _renamed(item, self._selection.root + item.key)


def _renamed(item: MediaObject, key: str) -> MediaObject:
    """The object under another key; ``dataclasses.replace`` takes three times as long, for each of a million."""
    return MediaObject(key, item.size, item.etag, item.modified, item.checksum)
