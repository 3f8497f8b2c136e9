"""Unique, reversible names: a key such as ``day 1/a.jpg`` as one flat file name, and back.

The platform keeps a batch flat, so ``a/1.jpg`` and ``b/1.jpg`` must not both become ``1.jpg``. ASCII letters, digits,
``.``, ``_`` and ``-`` stay; ``/`` becomes ``~~``; every other byte of the UTF-8 form becomes ``~`` and two hex digits.
Names of more than 200 bytes end in a digest instead, and are reversed through the manifest.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME_BYTES = 200
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_USUAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
"""Keys of which only the slashes change: nearly all, and a million of them are named in seconds."""
_ESCAPE = re.compile(r"~(~|[0-9a-f]{2})")
_DIGEST_DIGITS = 32


def encode_name(key: str) -> str:
    """The flat name of ``key``: ASCII ``[A-Za-z0-9._~-]``, at most 200 bytes, unique among different keys."""
    usual = _USUAL.fullmatch(key)
    name = key.replace("/", "~~") if usual else _UNSAFE.sub(_escape, _bytes(key)).decode("ascii")
    if name[0] in ".-":
        name = f"~{ord(name[0]):02x}{name[1:]}"
    return name if len(name) <= MAX_NAME_BYTES else _shorten(name, key)


def decode_name(name: str) -> str:
    """The key of a name that :func:`encode_name` made without shortening."""
    raw = _ESCAPE.sub(lambda match: "/" if match[1] == "~" else chr(int(match[1], 16)), name)
    return raw.encode("latin-1").decode("utf-8", "surrogateescape")


def _bytes(key: str) -> bytes:
    """The key's own bytes, also where a file system gave ones that are not UTF-8."""
    return key.encode("utf-8", "surrogateescape")


def _escape(found: re.Match[bytes]) -> bytes:
    return b"~~" if found[0] == b"/" else b"~%02x" % found[0][0]


def _shorten(name: str, key: str) -> str:
    """``~h``, a digest and the extension: ``h`` is no hex digit, so no escaped name begins so."""
    dot = name.rfind(".")
    extension = name[dot:] if dot >= 0 and len(name) - dot <= 12 else ""
    return f"~h{hashlib.sha256(_bytes(key)).hexdigest()[:_DIGEST_DIGITS]}{extension}"
