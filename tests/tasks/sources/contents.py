"""What places are filled with in these tests, and how what comes back is looked at."""

import unicodedata

import httpx

from tasks.sources.base import MediaObject, ReferenceSource
from tasks.sources.registry import open_source

FILES = ("local", "sftp")
"""Places whose objects are files."""
HOSTILE = (
    "with space.jpg",
    " leading and trailing ",
    "100%.jpg",
    "%41.jpg",
    "a%2Fb%20c.jpg",
    "a+b.jpg",
    "a#b.jpg",
    "a?b=c.jpg",
    "a&b=c;d.jpg",
    "a:b@c,d.jpg",
    "it's.jpg",
    'say "hi".jpg',
    "<a>|^`.jpg",
    "(a)[b]{c}!*$~.jpg",
    "a/b.c/..d/e..jpg",
    ".hidden.jpg",
    "back\\slash.jpg",
    "tab\tin.jpg",
    "line\nbreak.jpg",
    "no-break\u00a0space.jpg",
    "日本/写真.jpg",
    "🦊.jpg",
    unicodedata.normalize("NFC", "é.jpg"),
    unicodedata.normalize("NFD", "é.jpg"),
    "é/" * 40 + "long.jpg",
)
"""Each is one key; accents composed and combined are two."""
HOSTILE_IN_CLOUDS = ("/leading.jpg", "//twice.jpg", "a//b.jpg", "return\r.jpg")
NOT_THERE = {"azure": "\\", "s3": "\n"}
"""Azure's own client turns a backslash into a slash, and moto answers 404 to a line break, also to Amazon's client."""


def signing(url: str) -> ReferenceSource:
    """A source that makes signed URLs."""
    source = open_source(url)
    assert isinstance(source, ReferenceSource)
    return source


def listed(url: str) -> list[MediaObject]:
    return list(open_source(url).list())


def keys(url: str) -> list[str]:
    return [item.key for item in listed(url)]


def fill(place, *names: str) -> None:
    """Each object holds its own key, so that a mix-up shows."""
    for name in names:
        place.put(name, name.encode())


def fetch(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30)


def hostile(place) -> tuple[str, ...]:
    """The keys of those above that a place can hold."""
    names = HOSTILE if place.kind in FILES else HOSTILE + HOSTILE_IN_CLOUDS
    return tuple(name for name in names if NOT_THERE.get(place.kind, "\0") not in name)


def read(source, item: MediaObject, offset: int = 0) -> bytes:
    """The bytes of an object as a source gives them."""
    with source.open(item, offset) as file:
        data: bytes = file.read()
    return data
