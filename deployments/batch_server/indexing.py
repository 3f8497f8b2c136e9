"""Reading archives: which images are inside, and where."""

import io
import json
import logging
import queue
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread, Timer
from uuid import uuid4

from deployments.batch_server.blobs import BlobFolder
from deployments.batch_server.names import file_name_problem, printable
from deployments.batch_server.notifications import Subscription
from deployments.batch_server.reference_requests import notifications_url
from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.remote.failures import TOO_LARGE
from deployments.batch_server.store.uploads import Member, RejectedMember, UploadStore
from tasks.roboflow_api.models import MAX_IMAGE_BYTES, MAX_IMAGES_PER_SHARD

LOG = logging.getLogger(__name__)
NOTIFICATION_CONFIG = "notification_config.json"
MAX_HEADER_BYTES = 16 * 1024
"""Longest extended header that is read; some of what Python 3.11 looks for in one takes quadratic time."""
RETRY_SECONDS = 5.0
"""From an index that could not be recorded, as on a full disk, to the next try: its batch must not hang."""


class ArchiveBroken(Exception):
    """The archive cannot be read as one; says why."""


@dataclass
class ArchiveContent:
    """What an archive holds."""

    members: list[Member] = field(default_factory=list)
    rejected: list[RejectedMember] = field(default_factory=list)
    """Members that are not taken, with the reason."""
    subscription: Subscription | None = None
    """Who wants to be told once it is indexed."""


class _Headers(io.FileIO):
    """An archive of which headers are read and nothing longer, whatever length a header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise ArchiveBroken(f"not a readable tar archive: a header of {size} bytes")
        return super().read(size)


def read_archive(path: Path) -> ArchiveContent:
    """Find the images of an uncompressed tar archive by its headers alone.

    Raises:
        ArchiveBroken: It is no tar archive, is cut, or holds more than 500 files.
    """
    content, names = ArchiveContent(), set[str]()
    try:
        with _Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                if info.size < 0:
                    # Python 3.11 would walk backwards, and go round for ever.
                    raise ArchiveBroken("not a readable tar archive: a member has a negative size")
                _sort(archive, info, content, names)
                if len(content.members) + len(content.rejected) > MAX_IMAGES_PER_SHARD:
                    raise ArchiveBroken(f"the archive holds more than {MAX_IMAGES_PER_SHARD} files: split it")
            end = archive.offset
    except (ArchiveBroken, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - tarfile lets through whatever a damaged header leads to
        raise ArchiveBroken(f"not a readable tar archive: {error}") from None
    _check_end(path, end)
    return content


def _sort(archive: tarfile.TarFile, info: tarfile.TarInfo, content: ArchiveContent, names: set[str]) -> None:
    if info.name == NOTIFICATION_CONFIG:
        content.subscription = _subscription(archive, info)
        return
    problem = _problem(info, names)
    if problem is not None:
        content.rejected.append(problem)
    else:
        names.add(info.name)
        content.members.append(Member(info.name, info.offset_data, info.size))


def _subscription(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Subscription | None:
    """Who wants to be told; what cannot be read as that is nobody."""
    if not info.isreg() or info.size > MAX_HEADER_BYTES:
        return None
    file = archive.extractfile(info)
    try:
        config = json.loads(file.read()) if file is not None else None
        url = notifications_url(config.get("notificationsURL")) if isinstance(config, dict) else None
        ingest_id = str(config.get("ingestId") or uuid4().hex) if isinstance(config, dict) else ""
    except (ValueError, RecursionError, BadRequest):
        return None
    return Subscription(printable(ingest_id), url) if url is not None else None


def _problem(info: tarfile.TarInfo, names: set[str]) -> RejectedMember | None:
    name = printable(info.name)
    if not info.isreg() or info.issparse():
        return RejectedMember("not-a-regular-file", name, "links, folders and sparse files are not taken")
    problem = file_name_problem(info.name)
    if problem is not None:
        return RejectedMember("invalid-file-name", name, problem)
    if info.name in names:
        return RejectedMember("duplicate-file-name", name, "the archive has this name twice")
    if info.size > MAX_IMAGE_BYTES:
        return RejectedMember(TOO_LARGE, name, f"Max size of single image is {MAX_IMAGE_BYTES}B.")
    return None


def _check_end(path: Path, end: int) -> None:
    # tarfile takes a damaged header in the middle, or a missing end, for the end of the archive.
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
    if block != tarfile.NUL * tarfile.BLOCKSIZE:
        raise ArchiveBroken(f"not a readable tar archive: damaged or cut at byte {end}")


class Indexer:
    """Indexes arrived archives one after the other, so that of two namesakes the first wins."""

    def __init__(self, uploads: UploadStore, blobs: BlobFolder, on_indexed: Callable[[], None]) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._on_indexed = on_indexed
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier server left unindexed."""
        for shard_id in self._uploads.unindexed():
            self._waiting.put(shard_id)
        self._thread.start()

    def add(self, shard_id: str) -> None:
        """Have a shard indexed soon."""
        self._waiting.put(shard_id)

    def stop(self) -> None:
        """End after the shard in hand; the others wait for the next start."""
        self._stopping = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (shard_id := self._waiting.get()) is not None and not self._stopping:
            try:
                self._index(shard_id)
            except Exception:
                LOG.exception("indexing shard %s failed and is tried again in %g s", shard_id, RETRY_SECONDS)
                again = Timer(RETRY_SECONDS, self._waiting.put, (shard_id,))
                again.daemon = True
                again.start()
            self._on_indexed()

    def _index(self, shard_id: str) -> None:
        path = self._uploads.archive(shard_id)
        if path is None:
            return
        try:
            content = read_archive(self._blobs.locate(path))
        except (ArchiveBroken, OSError) as error:
            self._uploads.record_broken(shard_id, path, str(error))
        else:
            self._uploads.record_index(shard_id, path, content.members, content.rejected, content.subscription)
