"""Ingest by reference: the platform gets signed URLs and fetches the files itself.

References go in chunks with an ingest id of each chunk's own, derived from the run: a chunk that is sent again, because
an answer was lost or a process killed, is recognised by the platform and changes nothing. URLs are made when their
chunk is sent, and are stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from tasks.core.errors import BadInput
from tasks.core.threads import map_bounded
from tasks.media.manifest import read_manifest
from tasks.roboflow_api.models import MAX_REFERENCES
from tasks.sources.base import ReferenceSource
from tasks.steps.context import INGEST, Run
from tasks.transfer.shards import Shard

PARALLEL_CHUNKS = 2
SECONDS_PER_HOUR = 3600
ATTEMPT = "attempt"


class Signed(NamedTuple):
    """A chunk with its URLs, which are secrets.

    Attributes:
        part: its name in the journal.
        references: names and URLs.
    """

    part: str
    references: list[tuple[str, str]]


class Referral:
    """The ingest of a run's files by reference.

    Args:
        run: the run, whose source can be fetched from.
        most: references in a chunk at most; as many as a platform takes if it is not given.

    Raises:
        BadInput: nobody but this machine can read the source.
    """

    by_reference = True
    one_by_one = False

    def __init__(self, run: Run, most: int | None = None) -> None:
        source = run.target.source
        if not isinstance(source, ReferenceSource):
            raise BadInput(f"the platform cannot fetch from {source.url}: use --transfer upload")
        self._run = run
        self._source: ReferenceSource = source
        self._most = self._begun_with(most or MAX_REFERENCES)
        self._attempt = self._attempts()

    def parts(self) -> Iterator[Shard]:
        """The chunks, always the same ones for one run; one is in memory at a time."""
        rows = read_manifest(self._run.folder.manifest, "staged")
        number, again = 0, f"-again-{self._attempt}" if self._attempt else ""
        while chunk := tuple(islice(rows, self._most)):
            yield Shard(f"chunk-{number:06d}{again}", chunk)
            number += 1

    def send(self) -> None:
        """Sends the chunks that an earlier process has not."""
        self._warn_of_short_lifetime()
        for _ in map_bounded(self._bring, self._signed(), PARALLEL_CHUNKS):
            pass  # how far it is shows in what the platform has fetched

    def shards(self) -> frozenset[str] | None:
        """The platform's shards of what this attempt has sent, or ``None`` where it has not told them."""
        told: set[str] = set()
        for chunk in self.parts():
            entry = self._run.journal.confirmed(INGEST, chunk.part)
            if entry is None or not entry["shards"]:
                return None
            told.update(entry["shards"])
        return frozenset(told)

    def give_up(self) -> None:
        """Has the next process send everything anew, under other ingest ids: nothing of this attempt has arrived."""
        self._run.journal.confirm(INGEST, ATTEMPT, number=self._attempt + 1)

    def _attempts(self) -> int:
        known = self._run.journal.confirmed(INGEST, ATTEMPT)
        return int(known["number"]) if known else 0

    def _begun_with(self, most: int) -> int:
        known = self._run.journal.confirmed(INGEST, "way")
        if known is None:
            self._run.journal.confirm(INGEST, "way", references=most)
            return most
        return int(known["references"])

    def _signed(self) -> Iterator[Signed]:
        """The chunks still to send, signed in listing order when there is room to send them."""
        seconds = round(self._run.target.url_hours * SECONDS_PER_HOUR)
        for chunk in self.parts():
            if self._run.journal.confirmed(INGEST, chunk.part):
                continue
            urls = self._source.presign((row.item() for row in chunk.rows), seconds)
            yield Signed(chunk.part, list(zip((row.name for row in chunk.rows), urls, strict=True)))

    def _bring(self, signed: Signed) -> None:
        run, part = self._run, signed.part
        run.journal.intend(INGEST, part)
        answer = run.platform.staging.ingest_references(
            run.remote_id, signed.references, f"{run.remote_id}-{part}", run.remote_id, run.webhook_url
        )
        run.journal.confirm(INGEST, part, changed={}, duplicated=answer.duplicated, shards=answer.shard_ids)

    def _warn_of_short_lifetime(self) -> None:
        if self._source.only_by_reference:
            return  # whoever signed those URLs has chosen
        hours, given = self._run.target.url_hours, self._source.longest_lifetime()
        if given is not None and given < hours * SECONDS_PER_HOUR:
            self._run.tell(
                f"signed URLs are asked to be valid for {hours:g} h, but the credentials that sign them end in "
                f"{given / SECONDS_PER_HOUR:.1f} h: what the platform has not fetched by then fails"
            )
