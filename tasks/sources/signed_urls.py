"""What a URL that somebody else has signed tells: where it leads, to which version, and how long it is good."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

_URL = re.compile(r"(https?)://(?:[^/?#\s@]*@)?([^/?#\s@]+)([^?#\s]*)(?:\?([^#\s]*))?(?:#\S*)?", re.IGNORECASE)
_VERSION = re.compile(r"(?:^|&)(versionid|generation|snapshot)=([^&]+)", re.IGNORECASE)
_END = re.compile(r"(?:^|&)(x-(?:amz|goog)-(?:date|expires)|se|expires)=([^&]+)", re.IGNORECASE)


class UrlParts(NamedTuple):
    """A URL in parts; ``query`` is a secret, and a password in the URL is left out."""

    scheme: str
    host: str
    """With the port, where there is one."""
    path: str
    query: str

    @property
    def origin(self) -> str:
        """Scheme and host."""
        return f"{self.scheme}://{self.host}"

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return self.origin + self.path

    @property
    def version(self) -> str:
        """The same for the same object and version, however often it is signed anew: 32 hex digits."""
        named = sorted((name.lower(), value) for name, value in _VERSION.findall(self.query))
        return hashlib.sha256("\n".join([self.shown, *map(repr, named)]).encode()).hexdigest()[:32]

    @property
    def end(self) -> float | None:
        """When it expires, in seconds since 1970, as AWS, Google, Azure and CloudFront write it; ``None``: unknown."""
        fields = _END.findall(self.query)
        return _end(tuple((name.lower(), value) for name, value in fields)) if fields else None


def split_url(url: str) -> UrlParts | None:
    """The parts of an http or https URL; ``None`` for any other text."""
    match = _URL.fullmatch(url)
    return UrlParts(match[1].lower(), match[2].lower(), match[3], match[4] or "") if match else None


@lru_cache(maxsize=1024)
def _end(fields: tuple[tuple[str, str], ...]) -> float | None:
    """Cached, because URLs signed together end together."""
    known = dict(fields)
    for names, read in _WAYS:
        if all(name in known for name in names):
            try:
                return read(*(unquote(known[name]) for name in names)).timestamp()
            except (ValueError, OverflowError):
                return None
    return None


def _after(start: str, seconds: str) -> datetime:
    return datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + timedelta(seconds=int(seconds))


def _iso(moment: str) -> datetime:
    found = datetime.fromisoformat(moment)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _epoch(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


_WAYS: tuple[tuple[tuple[str, ...], Callable[..., datetime]], ...] = (
    (("x-amz-date", "x-amz-expires"), _after),
    (("x-goog-date", "x-goog-expires"), _after),
    (("se",), _iso),
    (("expires",), _epoch),
)
