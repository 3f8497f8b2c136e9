"""What all places have in common."""

from __future__ import annotations

from typing import Protocol


class Place(Protocol):
    """A place that holds objects, of whatever kind."""

    kind: str
    url: str
    """What a user would name; append ``/`` and a key or pattern."""
    wrong_url: str
    """The same kind of place, which is not there: the last part of it is ``nowhere``."""
    environment: dict[str, str]
    """The variables that lead our code there."""

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, or writes it anew."""

    def delete(self, key: str) -> None:
        """Removes an object that is there."""

    def get(self, key: str) -> bytes:
        """What an object holds."""

    def stored(self) -> list[str]:
        """The keys of all objects, sorted."""

    def clear(self) -> None:
        """Removes everything."""


class Cloud(Place, Protocol):
    """A place that serves signed URLs."""

    def sign(self, key: str) -> str:
        """A URL of an object that the vendor's own library has made, for an hour."""

    def lifetime(self, url: str) -> float:
        """Seconds for which a URL made just now is valid, as it says itself; exact to two."""

    def check_signature(self, url: str) -> None:
        """Raises ``AssertionError`` where the real service would refuse the URL for its signature."""
