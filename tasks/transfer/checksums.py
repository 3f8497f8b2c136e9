"""Checksums that an answer carries, of the file as a whole.

Sources: RFC 9530 (``Repr-Digest``), RFC 3230 (``Digest``), RFC 1864 (``Content-MD5``), and the documentation of the
object stores for ``x-goog-hash``, ``x-ms-blob-content-md5`` and ``x-amz-checksum-*``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import google_crc32c

WHOLE = 200
"""Status of an answer whose body is the whole file."""


class Summing(Protocol):
    """A checksum under way, as :mod:`hashlib` has them."""

    def update(self, data: bytes, /) -> None:
        """Takes more of the content."""

    def digest(self) -> bytes:
        """The checksum of what came so far."""


class _Crc32:
    """CRC-32 in the manner of :mod:`hashlib`."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_MAKERS: dict[str, tuple[Callable[[], Summing], int]] = {
    "sha-256": (hashlib.sha256, 32),
    "sha-512": (hashlib.sha512, 64),
    "md5": (partial(hashlib.md5, usedforsecurity=False), 16),
    "crc32c": (google_crc32c.Checksum, 4),
    "crc32": (_Crc32, 4),
}
"""What can be computed and its bytes, from the best to the least."""
_OF_THE_FILE = ("repr-digest", "digest", "x-goog-hash")
"""Fields of ``name=value`` pairs about the whole file, whatever range of it was asked for."""
_OF_THE_BODY = {
    "content-md5": "md5",
    "x-amz-checksum-sha256": "sha-256",
    "x-amz-checksum-crc32c": "crc32c",
    "x-amz-checksum-crc32": "crc32",
}
"""Fields about what is sent, which is the whole file only where no range was asked for."""


@dataclass(frozen=True)
class Checksum:
    """What a file must add up to.

    Attributes:
        name: of the algorithm, such as ``sha-256``.
        value: the checksum.
    """

    name: str
    value: bytes

    def begin(self) -> Summing:
        """Nothing added up yet."""
        return _MAKERS[self.name][0]()


def checksum_of(status: int, headers: Mapping[str, str]) -> Checksum | None:
    """The best checksum of the whole file that the answer carries and that can be computed here.

    Args:
        status: of the answer; its body is not in an encoding.
        headers: of the answer, looked up without regard to case.
    """
    if headers.get("x-goog-stored-content-encoding", "identity").lower() != "identity":
        return None  # the store has unpacked the file, and its checksums are of the packed one
    found = dict(_offered(status, headers))
    return next((Checksum(name, found[name]) for name in _MAKERS if name in found), None)


def _offered(status: int, headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for field in _OF_THE_FILE:
        for pair in headers.get(field, "").split(","):
            name, _, text = pair.strip().partition("=")
            yield from _read(name.strip().lower(), text.partition(";")[0].strip().strip(":"))
    yield from _read("md5", headers.get("x-ms-blob-content-md5", ""))
    if status == WHOLE and headers.get("x-amz-checksum-type", "").upper() != "COMPOSITE":
        for field, name in _OF_THE_BODY.items():
            yield from _read(name, headers.get(field, ""))


def _read(name: str, text: str) -> Iterator[tuple[str, bytes]]:
    """The pair, if it is one that can be checked: checksums of checksums (``<value>-<parts>``) cannot."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return
    if name in _MAKERS and len(value) == _MAKERS[name][1]:
        yield name, value
