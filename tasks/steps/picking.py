"""Ingest of what the platform picks from its own library: only afterwards it is known what that is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tasks.core.errors import BadInput, RunIncomplete
from tasks.media.manifest import ManifestRow, read_manifest, write_rows
from tasks.roboflow_api.models import MAX_REFERENCES
from tasks.roboflow_api.polling import poll_until
from tasks.sources.roboql import RoboqlSource
from tasks.steps.arrival import DEADLINE, BatchState, Quiet, look
from tasks.steps.context import INGEST, Run
from tasks.transfer.shards import Shard

QUERY = "query"
QUIET_SETTLES = 4
"""The platform does not say when it is through: a batch with files that has been still so long is taken as full."""
NOTHING_SETTLES = 20
"""How long an empty batch is waited for, in the same measure."""


class Picking:
    """The ingest of a RoboQL query.

    Args:
        run: the run.
        source: the query.
    """

    by_reference = True
    one_by_one = False

    def __init__(self, run: Run, source: RoboqlSource) -> None:
        self._run = run
        self._source = source

    def parts(self) -> Iterator[Shard]:
        """What was picked, in pieces that fit into memory."""
        rows = read_manifest(self._run.folder.manifest, "staged")
        number = 0
        while chunk := tuple(islice(rows, MAX_REFERENCES)):
            yield Shard(f"picked-{number:06d}", chunk)
            number += 1

    def send(self) -> None:
        """Hands in the query, once, and writes down as the manifest what the platform has picked.

        Raises:
            BadInput: it has picked nothing.
            RunIncomplete: it is not through by the deadline.
        """
        run = self._run
        if run.journal.confirmed(INGEST, QUERY) is None:
            run.journal.intend(INGEST, QUERY)
            run.platform.staging.ingest_query(run.remote_id, self._source.query, run.remote_id, run.remote_id)
            run.journal.confirm(INGEST, QUERY, changed={})
        self._wait()
        picked = (
            ManifestRow(file.file_name, file.file_name, None, None, None)
            for file in run.platform.staging.files(run.remote_id)
        )
        write_rows(run.folder.manifest, picked)

    def _wait(self) -> None:
        run, quiet = self._run, Quiet(self._run)

        def still(seen: BatchState) -> bool:
            settles = QUIET_SETTLES if seen.count else NOTHING_SETTLES
            return quiet.seconds(seen) > settles * run.platform.settle

        state = poll_until(lambda: look(run), still, deadline=DEADLINE, pace=run.platform.pace, timing=run.timing)
        if state is None:
            raise RunIncomplete(f"batch {run.remote_id} still grows after {DEADLINE / 3600:.0f} h")
        if not state.count:
            raise BadInput(f"{run.platform.name} has picked no image for {self._source.url}: change the query")
