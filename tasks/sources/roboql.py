"""Images that the platform picks from its own library by a RoboQL query."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject, SourceChanged

SCHEME = "roboql:"


class RoboqlSource:
    """A query instead of a place: what it picks is known only once the platform has put it into a batch.

    Args:
        url: ``roboql:`` and the query.

    Raises:
        BadInput: there is no query.
    """

    is_local = False
    by_extension = False

    def __init__(self, url: str) -> None:
        self.query = url[len(SCHEME) :].strip()
        if not self.query:
            raise BadInput(f"source {url} holds no query: write roboql:QUERY")
        self.url = f"{SCHEME}{self.query}"

    def digest(self) -> str:
        """What stands for a listing's digest; the same query is the same run, and a rerun label makes it another."""
        return hashlib.sha256(self.url.encode()).hexdigest()

    def check(self) -> None:
        """Nothing can be looked at from here."""

    def list(self) -> Iterator[MediaObject]:
        """Nothing: the library cannot be listed from here."""
        return iter(())

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:  # noqa: ARG002 - as every source
        """Images of the library cannot be read from here.

        Raises:
            SourceChanged: always.
        """
        raise SourceChanged("lies in the platform's own library")
