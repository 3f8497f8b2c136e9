"""From what the user names to a source or a bucket: scheme to loader.

A backend's module, and with it the cloud's library, is imported only when its scheme is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from tasks.core.errors import BadInput
from tasks.core.redaction import redact
from tasks.sources.base import Source
from tasks.sources.bucket import Bucket, BucketSource
from tasks.sources.local import LocalSource
from tasks.sources.patterns import exactly, is_pattern, parse_selection
from tasks.sources.roboql import SCHEME, RoboqlSource

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BUCKET_NAME = re.compile(r"[\w.$@-]+")
_CANONICAL = {"gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}
FROM_VARIABLE = "env:"
"""What a source begins with that stands in an environment variable: a signed URL is a secret."""
REFERENCES_SUFFIX = ".jsonl"

Loader = Callable[[str, tuple[str, ...]], Source]
BucketLoader = Callable[[str], Bucket]


def open_source(url: str, left_out: tuple[str, ...] = ()) -> Source:
    """The source that ``url`` names.

    Args:
        url: as the user wrote it: a path, a pattern, a URL of a known scheme, or ``env:NAME`` for what
            that variable holds.
        left_out: paths and URLs of places that are not listed though they may lie in it: the pipeline's own output.

    Raises:
        BadInput: the scheme is unknown, or the place cannot be used.
    """
    if not url:
        raise BadInput("the source is empty: name a folder or bucket that holds images")
    if url.startswith(FROM_VARIABLE):
        return open_source(_value_of(url[len(FROM_VARIABLE) :]), left_out)
    if url.lower().startswith(SCHEME):
        return RoboqlSource(url)
    scheme = split_scheme(url)[0]
    if scheme in _BUCKETS:
        bucket, path = open_bucket(url)
        return BucketSource(bucket, parse_selection(path), _prefixes_in(scheme, bucket.name, left_out))
    loader = _LOADERS.get(scheme)
    if loader is None:
        raise BadInput(f"unknown source scheme {scheme}://: use a folder's path or one of {_known()}")
    return loader(url, left_out)


def holds_secret(url: str) -> bool:
    """Whether ``url`` is one that may be signed, and so must not be written down anywhere."""
    scheme, rest = split_scheme(url)
    return scheme in ("http", "https") and ("?" in rest or "@" in rest.partition("/")[0])


def _value_of(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value or value.startswith(FROM_VARIABLE):
        raise BadInput(f"source {FROM_VARIABLE}{variable}: set the environment variable {variable} to the source's URL")
    return value


def is_bucket_url(url: str) -> bool:
    """Whether ``url`` names a place in a cloud store."""
    return split_scheme(url)[0] in _BUCKETS


def open_bucket(url: str) -> tuple[Bucket, str]:
    """The bucket that a URL such as ``s3://bucket/path`` names, and the path in it, as it was written.

    Raises:
        BadInput: it names no bucket of a known store.
    """
    scheme, rest = split_scheme(url)
    name, _, path = rest.partition("/")
    if scheme not in _BUCKETS:
        known = " ".join(f"{known}://" for known in _BUCKETS)
        raise BadInput(f"{redact(url)} is no place in a bucket: use one of {known}")
    if not name:
        raise BadInput(f"{url} names no bucket: write {scheme}://BUCKET/PATH")
    if not _BUCKET_NAME.fullmatch(name):
        raise BadInput(f"no bucket has the name that stands in this {scheme}:// URL: credentials belong into variables")
    return _BUCKETS[scheme](name), path


def local_path(url: str) -> Path | None:
    """The path that a plain path or ``file://…`` URL names, or ``None`` for any other URL.

    Raises:
        BadInput: it names a host, or the home of an unknown user.
    """
    scheme, rest = split_scheme(url)
    if scheme not in ("", "file"):
        return None
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise BadInput(f"{url} names a host, not a folder: write file:///path, with three slashes")
        return Path("/" + unquote(path))
    try:
        return Path(url).expanduser()
    except RuntimeError:
        raise BadInput(f"{url} names the home of an unknown user: write the path in full") from None


def _prefixes_in(scheme: str, name: str, places: tuple[str, ...]) -> tuple[str, ...]:
    """What keys of the bucket begin with that lie in one of ``places``."""
    prefixes = []
    for place in places:
        there, rest = split_scheme(place)
        bucket, _, path = rest.partition("/")
        if (there, bucket) == (scheme, name):
            prefixes.append(path.rstrip("/") + "/" if path.strip("/") else "")
    return tuple(prefixes)


def _folders(places: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(path for place in places if (path := local_path(place)) is not None)


def split_scheme(url: str) -> tuple[str, str]:
    """Scheme, in lower case and under its usual name, and the rest; a path has the scheme ``""``."""
    match = _SCHEME.match(url)
    if match is None:
        return "", url
    scheme = match[1].lower()
    return _CANONICAL.get(scheme, scheme), url[match.end() :]


def _open_path(url: str, left_out: tuple[str, ...]) -> Source:
    """A folder, a file, a pattern, or a file of references; what exists under that very name is no pattern."""
    path, folders = local_path(url), _folders(left_out)
    assert path is not None
    if path.is_file():
        if path.suffix.lower() == REFERENCES_SUFFIX:
            return _open_references(str(path), left_out)
        return LocalSource(path.parent, folders, exactly(path.name), named=url)
    if path.exists() or not is_pattern(str(path)):
        return LocalSource(path, folders, named=url)
    selection = parse_selection(str(path) + ("/" if url.endswith("/") else ""))
    inside = parse_selection(selection.text[len(selection.root) :])
    return LocalSource(Path(selection.root or "."), folders, inside, named=url)


def _open_references(url: str, _left_out: tuple[str, ...]) -> Source:
    from tasks.sources.references import open_references

    return open_references(url)


def _open_sftp(url: str, _left_out: tuple[str, ...]) -> Source:
    from tasks.sources.sftp import open_sftp

    return open_sftp(url)


def _open_s3(name: str) -> Bucket:
    from tasks.sources.s3 import open_s3

    return open_s3(name)


def _open_gcs(name: str) -> Bucket:
    from tasks.sources.gcs import open_gcs

    return open_gcs(name)


def _open_azure(name: str) -> Bucket:
    """A container, also in Hadoop's way of writing it: ``container@account.dfs.core.windows.net``."""
    from tasks.sources.azure import open_azure

    container, _, host = name.partition("@")
    return open_azure(container, host.partition(".")[0] or None)


_LOADERS: dict[str, Loader] = {
    "": _open_path,
    "file": _open_path,
    "sftp": _open_sftp,
    "https": _open_references,
    "http": _open_references,
}
_BUCKETS: dict[str, BucketLoader] = {"s3": _open_s3, "gs": _open_gcs, "az": _open_azure}


def _known() -> str:
    return " ".join(f"{name}://" for name in sorted({*_BUCKETS, *_CANONICAL, *_LOADERS} - {"", "http"}))
