"""Summarize: account for every file, draw the report, and say that the run is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.core.errors import RunFailed, RunIncomplete
from tasks.core.records import Exported, Finished, Ingested, Launched, RunSummary, StepRecords
from tasks.core.run_folder import keep_request, read_lock
from tasks.media.manifest import ManifestRow, read_manifest
from tasks.results.expectations import watched_classes
from tasks.results.facts import RunFacts, read_facts, seconds_of
from tasks.results.tables import Failure, write_failures
from tasks.steps.collecting import STEP as EXPORT
from tasks.steps.context import INGEST, WAIT, Run
from tasks.steps.job_record import IMAGE_FAILED
from tasks.steps.judging import Show, judge_run
from tasks.steps.launch import STEP as LAUNCH
from tasks.steps.reporting import draw_report
from tasks.steps.stage import load_staged

SHOWN_MISSING = 5


def records_of(run: Run) -> StepRecords:
    """What the steps before have left, in the run's folder and journal.

    Raises:
        BadInput: one of them has not been carried out.
    """
    return StepRecords(
        load_staged(run.folder),
        run.record_of(INGEST, Ingested),
        run.record_of(LAUNCH, Launched),
        run.record_of(WAIT, Finished),
        run.record_of(EXPORT, Exported),
    )


def summarize(run: Run, records: StepRecords, begun: float, show: Show = lambda _judgement: None) -> RunSummary:
    """Reconciles, judges, and writes ``failures.parquet``, ``report.html`` and, last of all, ``summary.parquet``.

    Args:
        run: the run.
        records: what the steps before have left.
        begun: when this process began the run, on the run's clock.
        show: told what is said of the run, before any of it fails the run.

    Raises:
        RunIncomplete: a staged file is neither processed nor failed nor rejected.
        RunFailed: not one file could be processed; the report is drawn all the same.
        ExpectationsMissed: the results are not what was expected; the report is drawn all the same.
    """
    here = run.timing.clock()
    files, failures = reconcile(run, records.exported)
    write_failures(run.folder.failures, failures)
    keep_request(run.folder, run.target.request)
    draft = _summary(run, records, files, failures) | _times(run, begun, here)
    judgement = judge_run(run, lambda: _facts(run, draft))
    draw_report(run, records, RunSummary.model_validate(draft), judgement.verdicts, judgement.comparison)
    show(judgement)
    if not draft["processed"]:
        raise RunFailed(_none_processed(run, failures))
    judgement.check(run.folder.key)
    summary = RunSummary.model_validate(draft | _times(run, begun, here))  # now with the time that the report took
    run.folder.finish(summary)
    return summary


def _facts(run: Run, draft: dict[str, Any]) -> RunFacts:
    return read_facts(
        run.folder.root,
        key=run.folder.key,
        files=draft["files"],
        failed=draft["failed"],
        rejected=draft["rejected"],
        seconds=seconds_of(RunSummary.model_validate(draft)),
        watched=watched_classes(run.target.request.expectations),
    )


def _none_processed(run: Run, failures: list[Failure]) -> str:
    reasons = Counter(failure.reason for failure in failures if failure.state == "failed")
    reason, times = reasons.most_common(1)[0]
    return (
        f"none of the {len(failures)} files could be processed; the most common reason ({times}x): {reason}. "
        f"See {run.folder.report}; after mending the cause, pass --rerun LABEL for a run afresh"
    )


def reconcile(run: Run, exported: Exported) -> tuple[int, list[Failure]]:
    """The number of files, and every one without a result with its reason; each file has exactly one state.

    Raises:
        RunIncomplete: naming files of which nothing is known.
    """
    processed = _column(run.folder.results, "file")
    reasons = _reasons(run)
    files, failures = 0, []
    for row in read_manifest(run.folder.manifest):
        files += 1
        if failure := _judge(row, processed, reasons):
            failures.append(failure)
    missing = [failure.source_key for failure in failures if not failure.reason]
    if missing:
        shown = ", ".join(repr(key) for key in islice(missing, SHOWN_MISSING))
        more = f" and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
        hint = f"; {exported.unreadable} results could not be read" if exported.unreadable else ""
        raise RunIncomplete(f"{len(missing)} files have neither a result nor a reason: {shown}{more}{hint}")
    return files, failures


def _judge(row: ManifestRow, processed: set[str], reasons: dict[str, tuple[str, str]]) -> Failure | None:
    """What became of a file that has no result; no reason means that nobody knows."""
    if row.state == "rejected":
        return Failure(row.name, row.key, "rejected", "stage", row.reason or "rejected")
    if row.name in processed:
        return None
    step, reason = reasons.get(row.name, ("", ""))
    return Failure(row.name, row.key, "failed", step, reason)


def _reasons(run: Run) -> dict[str, tuple[str, str]]:
    """Step and reason by name, for the files that ingest or the job's logs report as failed."""
    ingest = _pairs(run.folder.ingest, "name", "reason", [("state", "=", "failed")])
    job = _pairs(run.folder.job, "image", "message", [("type", "=", IMAGE_FAILED)])
    return {name: ("wait", reason) for name, reason in job} | {name: ("ingest", reason) for name, reason in ingest}


def _pairs(file: Path, name: str, reason: str, which: list[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    table = pq.read_table(file, columns=[name, reason], filters=which)
    return zip(table[name].to_pylist(), table[reason].to_pylist(), strict=True)


def _column(file: Path, name: str) -> set[str]:
    return set(pq.read_table(file, columns=[name])[name].to_pylist())


def _summary(run: Run, records: StepRecords, files: int, failures: list[Failure]) -> dict[str, Any]:
    """The summary's fields, less the times of this step."""
    platform = run.platform
    rejected = sum(failure.state == "rejected" for failure in failures)
    return {
        "key": run.folder.key,
        "source": run.target.source.url,
        "workflow": run.target.workflow.id,
        "workflow_digest": run.target.workflow.digest,
        "platform": platform.name,
        "workspace": platform.workspace,
        "batch_id": records.ingested.batch_id,
        "job_id": records.launched.job_id,
        "files": files,
        "processed": files - len(failures),
        "failed": len(failures) - rejected,
        "rejected": rejected,
        "predictions": records.exported.predictions,
        "bytes": records.ingested.bytes,
        "started": datetime.fromisoformat(read_lock(run.folder)["started"]),
        "stage_seconds": records.staged.seconds,
        "ingest_seconds": records.ingested.seconds,
        "launch_seconds": records.launched.seconds,
        "wait_seconds": records.finished.seconds,
        "export_seconds": records.exported.seconds,
        "folder": run.folder.root,
    }


def _times(run: Run, begun: float, here: float) -> dict[str, Any]:
    now = run.timing.clock()
    return {"finished": run.timing.now(), "seconds": now - begun, "summarize_seconds": now - here}
