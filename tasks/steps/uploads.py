"""Ingest by upload: files go up one by one where they are few, else in tar shards.

A shard's life in the journal is *intent* (before a signed URL is asked for), then *confirmation* (its bytes are there).
What an earlier process intended and never confirmed is settled by asking the platform which names the batch holds.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.core.errors import UrlExpired
from tasks.core.threads import map_bounded
from tasks.media.manifest import ManifestRow, read_manifest
from tasks.sources.base import SourceChanged
from tasks.steps.arrival import arrived
from tasks.steps.context import INGEST, Run
from tasks.transfer.shards import FileChanged, Shard, ShardLimits, plan_shards, stream_file, stream_shard

SIMPLE_UPLOAD_MOST = 32
"""Up to this many files go up one by one; the official client draws the line there as well."""
PARALLEL_UPLOADS = 4
NEW_URLS_PER_SHARD = 5


class Upload:
    """The upload of a run's files, in the way that the run was begun with.

    Args:
        run: the run.
        files: files to send.
    """

    by_reference = False

    def __init__(self, run: Run, files: int) -> None:
        self._run = run
        self._files = files
        self.one_by_one, self._limits = self._way()

    def parts(self) -> Iterator[Shard]:
        """The shards, always the same ones for one run; one is in memory at a time."""
        return plan_shards(read_manifest(self._run.folder.manifest, "staged"), self._limits)

    def send(self) -> None:
        """Sends what has not arrived yet."""
        bring = self._bring_one if self.one_by_one else self._bring_shard
        for shard in map_bounded(bring, self._unsent(), PARALLEL_UPLOADS):
            self._run.progress.advance(INGEST, len(shard.rows), self._files, _bytes(shard))

    def _way(self) -> tuple[bool, ShardLimits]:
        """The journal's way and limits, so that a shard of one number always holds the same files."""
        known = self._run.journal.confirmed(INGEST, "way")
        if known is not None:
            return known["one_by_one"], ShardLimits(known["images"], known["bytes"])
        one_by_one = self._files <= SIMPLE_UPLOAD_MOST
        limits = ShardLimits(images=1) if one_by_one else self._allowed()
        self._run.journal.confirm(INGEST, "way", one_by_one=one_by_one, images=limits.images, bytes=limits.bytes)
        return one_by_one, limits

    def _allowed(self) -> ShardLimits:
        run = self._run
        allowed = run.platform.staging.shard_upload(run.remote_id, run.remote_id)
        return ShardLimits().within(allowed.max_archive_images, allowed.max_archive_bytes)

    def _unsent(self) -> Iterator[Shard]:
        """The shards still to send; those that turn out to have arrived are confirmed on the way."""
        run = self._run
        known = arrived(run) if run.journal.uncertain(INGEST) else frozenset()
        for shard in self.parts():
            if run.journal.confirmed(INGEST, shard.part):
                run.progress.advance(INGEST, len(shard.rows))
            elif any(row.name in known for row in shard.rows):
                reasons = {row.name: "changed while it was sent" for row in shard.rows if row.name not in known}
                run.journal.confirm(INGEST, shard.part, changed=reasons)
                run.progress.advance(INGEST, len(shard.rows))
            else:
                yield shard

    def _bring_one(self, shard: Shard) -> Shard:
        run, (row,) = self._run, shard.rows
        run.journal.intend(INGEST, shard.part)
        changed: dict[str, str] = {}
        try:
            content = b"".join(stream_file(run.target.source, row))
            run.platform.staging.upload_image(run.remote_id, row.name, content, run.remote_id)
        except FileChanged as error:
            changed[error.name] = str(error)
        run.journal.confirm(INGEST, shard.part, changed=changed)
        return shard

    def _bring_shard(self, shard: Shard) -> Shard:
        run = self._run
        run.journal.intend(INGEST, shard.part)
        changed: dict[str, str] = {}
        while rows := shard.without(changed).rows:
            try:
                self._put(Shard(shard.part, rows))
                break
            except FileChanged as error:
                changed |= {error.name: str(error)} | self._recheck(rows)
        run.journal.confirm(INGEST, shard.part, changed=changed)
        return shard

    def _put(self, shard: Shard) -> None:
        """PUTs the shard, under a new signed URL where the old one has expired on the way."""
        run, staging = self._run, self._run.platform.staging
        for _ in range(NEW_URLS_PER_SHARD):
            place = staging.shard_upload(run.remote_id, run.remote_id)
            try:
                return staging.transport.put(
                    place.upload_url,
                    place.extension_headers,
                    shard.length(),
                    lambda: stream_shard(run.target.source, shard),
                )
            except UrlExpired as error:
                expired = error
        raise expired

    def _recheck(self, rows: tuple[ManifestRow, ...]) -> dict[str, str]:
        """Which of the files cannot be sent any more, all of them at once rather than one a try."""
        changed = {}
        for row in rows:
            try:
                self._run.target.source.open(row.item()).close()
            except SourceChanged as error:
                changed[row.name] = str(error)
        return changed


def _bytes(shard: Shard) -> int:
    return sum(row.size or 0 for row in shard.rows)
