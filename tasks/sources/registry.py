"""From what the user names to a source: scheme to loader."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.core.errors import BadInput
from tasks.sources.base import Source
from tasks.sources.local import LocalSource

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


Loader = Callable[[str, tuple[Path, ...]], Source]


def _open_path(url: str, left_out: tuple[Path, ...]) -> Source:
    try:
        folder = Path(url).expanduser()
    except RuntimeError:
        raise BadInput(f"source {url} names the home of an unknown user: write the path in full") from None
    return LocalSource(folder, left_out)


def _open_file_url(url: str, left_out: tuple[Path, ...]) -> Source:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise BadInput(f"source {url} names a host, not a folder: write file:///path, with three slashes")
    return LocalSource(Path(unquote(parts.path)), left_out)


_LOADERS: dict[str, Loader] = {"": _open_path, "file": _open_file_url}


def open_source(url: str, left_out: tuple[Path, ...] = ()) -> Source:
    """The source that ``url`` names: a path or ``file://…``.

    Args:
        url: as the user wrote it.
        left_out: local folders that are not listed though they may lie below it: the pipeline's own output.

    Raises:
        BadInput: the scheme is unknown, or the place cannot be used.
    """
    if not url:
        raise BadInput("the source is empty: name a folder that holds images")
    match = _SCHEME.match(url)
    scheme = match.group(1).lower() if match else ""
    loader = _LOADERS.get(scheme)
    if loader is None:
        known = ", ".join(sorted(f"{name}://" for name in _LOADERS if name))
        raise BadInput(f"unknown source scheme {scheme}://: use a folder's path or one of {known}")
    return loader(url, left_out)
