"""Taking archives apart without trusting them.

Archives come from a service, so nothing in them is believed: only regular files are taken, links and devices
never; a name is used only when it stays inside the target folder; count, sizes and compression ratio are
limited. A member that is refused is reported and the rest is kept; an archive beyond the limits is refused as
a whole. Everything is streamed: memory does not grow with the archive.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from tasks.core.errors import Terminal, local_fault

READ_BYTES = 1 << 20
MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 2048
_MAX_HEADER_BYTES = 1 << 20
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DRIVE = re.compile(r"[A-Za-z]:")
_GZIP_MAGIC = b"\x1f\x8b"


class UnsafeArchive(Terminal):
    """An archive, or a name in it, that would do harm."""


class DamagedArchive(Terminal):
    """An archive that is cut short or not an archive."""


@dataclass(frozen=True)
class UnpackLimits:
    """How much one archive may hold; beyond it the archive is refused."""

    max_files: int = 200_000
    """Members of any type."""
    max_total_bytes: int = 50 * 1024**3
    """Bytes of the unpacked stream, headers included."""
    max_file_bytes: int = 4 * 1024**3
    """Bytes of one member."""
    max_memory_bytes: int = 64 * 1024**2
    """Bytes of one member that :func:`iter_tar_members` hands over in memory."""
    max_ratio: float = 250.0
    """Unpacked bytes for each packed byte."""
    ratio_from_bytes: int = 64 * 1024**2
    """Unpacked bytes before the ratio counts: small, regular JSON packs very well."""


@dataclass(frozen=True)
class UnpackedFile:
    """A file taken out of an archive."""

    name: str
    """Its path below the target folder, with slashes."""
    path: Path
    size: int
    """Bytes."""


@dataclass(frozen=True)
class RefusedMember:
    """A member that was left where it was."""

    name: str
    reason: str


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive's members; folders are not listed."""

    files: list[UnpackedFile]
    refused: list[RefusedMember]


def unpack_tar(
    archive: Path, target_dir: Path, limits: UnpackLimits | None = None, taken: Collection[str] = ()
) -> Unpacked:
    """Takes the regular files of a ``.tar`` or ``.tar.gz`` out into ``target_dir``.

    Each file appears under its name by rename, when it is whole; unpacking again overwrites it.

    Args:
        archive: what is taken apart.
        target_dir: where its files go.
        limits: see :class:`UnpackLimits`.
        taken: names right in ``target_dir`` that belong to others; members that would lie there are refused.

    Raises:
        UnsafeArchive: the archive is beyond the limits; files taken before that stay.
        DamagedArchive: it is cut short, or no archive.
        LocalFault: the disk is full or the folder cannot be written.
    """
    unpacked = Unpacked([], [])
    root = target_dir.resolve()
    partial = root / f".{hashlib.sha256(os.fsencode(archive.name)).hexdigest()}.part"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _damage_told(archive):
            for name, size, content in _regular_files(archive, limits or UnpackLimits(), unpacked.refused.append):
                path = root / name
                refusal = _place_refusal(path, root, partial)
                if name.partition("/")[0] in taken:
                    refusal = "a name that another file has"
                if refusal is not None:
                    unpacked.refused.append(RefusedMember(name, refusal))
                    continue
                _write(content, partial)
                partial.replace(path)
                unpacked.files.append(UnpackedFile(name, target_dir / name, size))
    except OSError as error:
        raise local_fault(error) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return unpacked


def iter_tar_members(
    archive: Path,
    limits: UnpackLimits | None = None,
    on_refused: Callable[[RefusedMember], None] = lambda _member: None,
) -> Iterator[tuple[str, bytes]]:
    """The regular files of an archive as ``(name, content)``, one at a time, without touching the disk.

    Args:
        archive: a ``.tar`` or ``.tar.gz``.
        limits: see :class:`UnpackLimits`; members over ``max_memory_bytes`` are refused one by one.
        on_refused: told about every member that is left out.

    Raises:
        UnsafeArchive: the archive is beyond the limits.
        DamagedArchive: it is cut short, or no archive.
    """
    limits = limits or UnpackLimits()
    with _damage_told(archive):
        for name, size, content in _regular_files(archive, limits, on_refused):
            if size > limits.max_memory_bytes:
                on_refused(RefusedMember(name, f"larger than {limits.max_memory_bytes} bytes"))
            else:
                yield name, content.read(size)


def safe_name(name: str) -> str:
    """``name`` as a relative path with slashes that stays below the folder it is joined to.

    Use it on every name that a service gives before it is joined to a path.

    Raises:
        UnsafeArchive: it is absolute, climbs out, names a drive, or cannot be a file name.
    """
    reason = _name_refusal(name)
    if reason is not None:
        raise UnsafeArchive(f"the name {name[:200]!r} is refused: {reason}")
    return _normal(name)


def _normal(name: str) -> str:
    # Not pathlib: it interns every part for good, and archives hold many names.
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _name_refusal(name: str) -> str | None:
    parts = _normal(name).split("/")
    checks = (
        (not parts[0], "empty name"),
        ("\0" in name, "NUL in the name"),
        (name.startswith("/"), "absolute path"),
        (".." in parts, "climbs out of the folder"),
        ("\\" in name, "backslash in the name"),
        (_DRIVE.match(name) is not None, "drive name"),
        (not _is_utf8(name), "name is not UTF-8"),
    )
    for refused, reason in checks:
        if refused:
            return reason
    if len(name.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_COMPONENT_BYTES for part in parts):
        return "name too long"
    return None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place_refusal(path: Path, root: Path, partial: Path) -> str | None:
    """Makes the folders for ``path``; says why it cannot lie there, if so."""
    if path == partial:
        return "reserved name"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return "lies below a file"
    # A link that was there before must not lead out.
    if path.parent != root and not path.parent.resolve().is_relative_to(root):
        return "climbs out of the folder through a link"
    return "is a folder as well" if path.is_dir() and not path.is_symlink() else None


def _write(content: IO[bytes], partial: Path) -> None:
    with partial.open("wb") as file:
        shutil.copyfileobj(content, file)


def _regular_files(
    archive: Path, limits: UnpackLimits, refuse: Callable[[RefusedMember], None]
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Safe names, sizes and open contents; each content is to be read before the next is asked for."""
    seen: set[str] = set()
    with archive.open("rb") as file:
        stream = _BoundedStream(archive, file, limits)
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", tarinfo=_CheckedInfo) as tar:
            for count, member in enumerate(_members(tar), start=1):
                if count > limits.max_files:
                    raise UnsafeArchive(f"{archive.name!r} holds more than {limits.max_files} members")
                if member.isdir():
                    continue
                reason = _refusal(member, seen, limits)
                if reason is not None:
                    refuse(RefusedMember(member.name, reason))
                    continue
                name = _normal(member.name)
                seen.add(name)
                content = tar.extractfile(member)
                assert content is not None, "a regular member has content"
                yield name, member.size, content
            stream.drain()


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        # tarfile remembers every member, which would grow with the archive.
        cast("Any", tar).members = []
        yield member


def _refusal(member: tarfile.TarInfo, seen: set[str], limits: UnpackLimits) -> str | None:
    if member.issym() or member.islnk():
        return "a link"
    if not member.isreg() or member.issparse():
        return "not a regular file"
    if member.size > limits.max_file_bytes:
        return f"larger than {limits.max_file_bytes} bytes"
    reason = _name_refusal(member.name)
    return "named twice" if reason is None and _normal(member.name) in seen else reason


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DamagedArchive(f"{archive.name!r} is not a whole archive: {error}") from error


class _CheckedInfo(tarfile.TarInfo):
    """Stops at headers that are huge or broken, where tarfile would take memory or end in silence."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise  # The mark of a proper end.
            raise tarfile.ReadError(f"it breaks off at a header ({error})") from error
        if info.type in _EXTENDED_HEADERS and info.size > _MAX_HEADER_BYTES:
            raise UnsafeArchive(f"a header of {info.size} bytes: the archive is refused")
        if info.size < 0:
            raise tarfile.ReadError("a member of negative size")
        return info


class _BoundedStream:
    """The unpacked bytes of an archive, counted against the limits."""

    def __init__(self, archive: Path, file: IO[bytes], limits: UnpackLimits) -> None:
        packed = os.fstat(file.fileno()).st_size
        head = file.read(len(_GZIP_MAGIC))
        file.seek(0)
        self._raw: IO[bytes] = file
        if head == _GZIP_MAGIC:
            self._raw = cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb"))
        self._name = archive.name
        self._count = 0
        ratio_limit = max(limits.ratio_from_bytes, int(packed * limits.max_ratio))
        self._limit = min(limits.max_total_bytes, ratio_limit)

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._count += len(data)
        if self._count > self._limit:
            raise UnsafeArchive(f"{self._name!r} unpacks to more than {self._limit} bytes: it is refused")
        return data

    def drain(self) -> None:
        """Reads to the end, where gzip keeps the checksum."""
        while self.read(READ_BYTES):
            pass
