"""Export: fetch what the job made, unpack it, and turn it into tables."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from tasks.core.records import Exported, Finished
from tasks.media.manifest import read_manifest
from tasks.results.tables import build_tables
from tasks.steps.choosing import output_batch
from tasks.steps.collecting import STEP, Collection, choose
from tasks.steps.context import WAIT, Run


def export(run: Run, finished: Finished) -> Exported:
    """Fetches the chosen parts into ``export/<part>/`` and writes ``results.parquet`` and ``predictions.parquet``.

    What is there already and whole is not fetched again, also when an earlier choice has brought it.

    Raises:
        Transient: a download failed until the retries were used up; what has come is kept.
        BadInput: there is no such stage or part, or the chosen parts hold no results.
    """
    asked = _asked(run, finished)
    known = run.journal.confirmed(STEP, "record")
    if known is not None and known["asked"] == asked:
        return Exported.model_validate(known["record"])
    begun = run.timing.clock()
    collection = choose(run, asked["batch"])  # what cannot be is told while the old export still stands
    if known is not None:
        run.folder.reopen()
        run.journal.intend(STEP, "record")  # from here on, neither files nor tables are those of the old choice
    exported = _export(run, collection, begun)
    run.journal.confirm(STEP, "record", record=exported.model_dump(mode="json"), asked=asked)
    run.on_step()
    return exported


def exported_as_asked(run: Run) -> bool:
    """Whether the last export of the run took just what is asked for now.

    Raises:
        BadInput: the job has no such stage.
    """
    waited, known = run.journal.confirmed(WAIT, "record"), run.journal.confirmed(STEP, "record")
    if waited is None or known is None:
        return False
    return bool(known["asked"] == _asked(run, Finished.model_validate(waited["record"])))


def _asked(run: Run, finished: Finished) -> dict[str, Any]:
    """What the choice comes to for this job."""
    choice = run.target.request.export
    return {"batch": output_batch(finished, choice.stage), "parts": sorted(set(choice.parts))}


def _export(run: Run, collection: Collection, begun: float) -> Exported:
    lost = _lost(run)
    collected = collection.fetch()
    staged = (row for row in read_manifest(run.folder.manifest, "staged") if row.name not in lost)
    tables = build_tables(run.folder.export, staged, run.folder.root)
    return Exported(
        batch=collection.batch,
        files=collected.files,
        bytes=collected.bytes,
        refused=collected.members,
        refused_files=collected.refused,
        rows=tables.rows,
        predictions=tables.predictions,
        duplicates=tables.duplicates.count,
        unknown=tables.unknown.count,
        unreadable=tables.unreadable.count,
        seconds=run.timing.clock() - begun,
    )


def _lost(run: Run) -> set[str]:
    """Names that count as failed whatever came back: of a file that changed, nobody knows which version was fetched."""
    failed = pq.read_table(run.folder.ingest, columns=["name"], filters=[("state", "=", "failed")])
    return set(failed["name"].to_pylist())
