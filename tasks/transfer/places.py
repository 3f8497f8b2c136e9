"""Places that files are written to and fetched from: a folder of this machine, or one in a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.core.files import appearing
from tasks.core.threads import map_bounded
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.bucket import Bucket
from tasks.sources.local import LocalSource
from tasks.sources.patterns import is_pattern
from tasks.sources.registry import local_path, open_bucket
from tasks.transfer.unpack import safe_name

PARALLEL_TRANSFERS = 8
_COPY_BYTES = 1 << 20
_LOOKS = 3
"""How often an object is looked up that is replaced again and again while it is read."""


class Place(Protocol):
    """Something like a folder; names in it are ``/``-separated. Safe to use from several threads.

    Every method may raise ``BadInput`` for what the user can change, and transient errors of a store.
    """

    url: str
    """Path or URL, without secrets and without a slash at the end."""

    def sub(self, name: str) -> Place:
        """The folder ``name`` in it, which need not be there."""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def put(self, name: str, file: Path) -> None:
        """Writes a local file, whole or not at all; an older one of that name is replaced."""

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""

    def get(self, name: str, target: Path) -> bool:
        """Fetches a file, which appears whole or not at all; false where there is none."""

    def folders(self) -> Iterator[str]:
        """The names of the folders right in it."""

    def files(self) -> Iterator[MediaObject]:
        """The files in it at any depth, keyed by their names; those of a place that is not there are none."""


class LocalPlace:
    """A folder of this machine, which is made when something is put there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def sub(self, name: str) -> Place:
        """The folder ``name`` in it."""
        return LocalPlace(self._folder / name)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self._folder / name).is_file()

    def put(self, name: str, file: Path) -> None:
        """Copies a file here."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target) as partial:
            shutil.copyfile(file, partial)

    def remove(self, name: str) -> None:
        """Removes a file."""
        (self._folder / name).unlink(missing_ok=True)

    def get(self, name: str, target: Path) -> bool:
        """Copies a file from here."""
        try:
            source = (self._folder / name).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, appearing(target) as partial, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        return True

    def folders(self) -> Iterator[str]:
        """The names of the folders right in it."""
        if self._folder.is_dir():
            yield from sorted(path.name for path in self._folder.iterdir() if path.is_dir())

    def files(self) -> Iterator[MediaObject]:
        """The files in it at any depth."""
        if self._folder.is_dir():
            yield from LocalSource(self._folder).list()


class BucketPlace:
    """A folder in a bucket.

    Args:
        bucket: the bucket.
        path: of the folder in it; empty for all of the bucket.
    """

    def __init__(self, bucket: Bucket, path: str) -> None:
        path = path.rstrip("/")
        self._bucket = bucket
        self._prefix = path and path + "/"
        self.url = f"{bucket.scheme}://{bucket.name}/{path}".rstrip("/")

    def sub(self, name: str) -> Place:
        """The folder ``name`` in it."""
        return BucketPlace(self._bucket, self._prefix + name)

    def has(self, name: str) -> bool:
        """Whether there is an object of that name."""
        return self._bucket.find(self._prefix + name) is not None

    def put(self, name: str, file: Path) -> None:
        """Uploads a file."""
        self._bucket.upload(self._prefix + name, file)

    def remove(self, name: str) -> None:
        """Removes an object."""
        self._bucket.remove(self._prefix + name)

    def get(self, name: str, target: Path) -> bool:
        """Downloads an object, in one version of it."""
        looks = _LOOKS
        while item := self._bucket.find(self._prefix + name):
            looks -= 1
            try:
                self._download(item, target)
                return True
            except SourceChanged:
                if not looks:
                    raise
        return False

    def folders(self) -> Iterator[str]:
        """The names of the folders right in it."""
        return self._bucket.folders(self._prefix)

    def files(self) -> Iterator[MediaObject]:
        """The objects in it at any depth; a folder's own marker is none."""
        skipped = len(self._prefix)
        for item in self._bucket.list(self._prefix):
            if not item.key.endswith("/"):
                yield MediaObject(item.key[skipped:], item.size, item.etag, item.modified, item.checksum)

    def _download(self, item: MediaObject, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target) as partial, partial.open("wb") as copy, self._bucket.open(item) as body:
            shutil.copyfileobj(body, copy, _COPY_BYTES)
            if item.size is not None and copy.tell() != item.size:
                raise ConnectionFailed(f"{self.url}: the download of {target.name} was cut short")


def open_place(url: str) -> Place:
    """The place that ``url`` names: a path, ``file:///…`` or a folder in a bucket such as ``s3://bucket/path``.

    Raises:
        BadInput: it is empty, a pattern, or of a scheme that cannot be written to.
    """
    if not url:
        raise BadInput("the folder to write to is empty: name one")
    folder = local_path(url)
    if folder is not None:
        return LocalPlace(_checked(folder))
    bucket, path = open_bucket(url)
    if is_pattern(path):
        shown = f"{bucket.scheme}://{bucket.name}/{path.partition('?')[0]}"
        raise BadInput(f"{shown} is to be written to, so it cannot be a pattern: leave out * ? [ and {{")
    return BucketPlace(bucket, path)


def _checked(folder: Path) -> Path:
    """The folder; what exists under that very name is no pattern."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: name a folder to write to")
    if is_pattern(str(folder)) and not folder.exists():
        raise BadInput(f"{folder} is to be written to, so it cannot be a pattern: name a folder")
    return folder


def put_all(place: Place, folder: Path, files: Iterable[MediaObject]) -> Iterator[MediaObject]:
    """Puts files of a local folder under their own names, several at a time; gives each when it is there."""

    def put(item: MediaObject) -> MediaObject:
        place.put(item.key, folder / item.key)
        return item

    return map_bounded(put, files, PARALLEL_TRANSFERS)


def get_all(place: Place, folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Fetches files into a local folder under their own names, several at a time; gives the names of those that are.

    Raises:
        UnsafeArchive: a name leads out of the folder.
    """

    def get(name: str) -> str:
        return name if place.get(name, folder / safe_name(name)) else ""

    return filter(None, map_bounded(get, names, PARALLEL_TRANSFERS))
