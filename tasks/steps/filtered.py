"""A source of which only some objects are meant; what can be fetched from URLs can be so still."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from tasks.sources.base import MediaObject, ReferenceSource, Source


class FilteredSource(ABC):
    """Some objects of a source.

    Args:
        source: the source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.url = source.url
        self.is_local = source.is_local
        self.by_extension = source.by_extension

    def check(self) -> None:
        """Looks whether the source can be used."""
        self._source.check()

    @abstractmethod
    def list(self) -> Iterator[MediaObject]:
        """The objects that are meant, in the source's order."""

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:
        """The object's bytes from ``offset`` on."""
        return self._source.open(item, offset)


class FilteredReferences(FilteredSource):
    """The same of a source whose objects a platform can fetch."""

    def __init__(self, source: ReferenceSource) -> None:
        super().__init__(source)
        self._references = source
        self.pins_versions = source.pins_versions
        self.only_by_reference = source.only_by_reference

    def endpoint(self) -> str:
        """Scheme and host that the URLs lead to."""
        return self._references.endpoint()

    def longest_lifetime(self) -> float | None:
        """Seconds for which URLs made now can be valid at most."""
        return self._references.longest_lifetime()

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        """A URL for each object."""
        return self._references.presign(items, seconds)


def stored_key(key: str) -> str:
    """The key as a manifest shows it, which is text also where a file system gave bytes that are not UTF-8."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return key
