"""From a run's records and tables to ``report.html``."""

from __future__ import annotations

from typing import IO

from tasks.core.records import Ingested, RunSummary, StepRecords
from tasks.core.request import replay_command
from tasks.core.run_folder import read_lock
from tasks.media.manifest import find_row
from tasks.results.compare import Comparison
from tasks.results.expectations import Verdict
from tasks.results.report.data import read_report_data
from tasks.results.report.images import OpenSource, image_columns
from tasks.results.report.model import Counts, Report, StepTime
from tasks.results.report.writing import write_report
from tasks.steps.context import Run


def draw_report(
    run: Run,
    records: StepRecords,
    summary: RunSummary,
    verdicts: tuple[Verdict, ...] = (),
    comparison: Comparison | None = None,
) -> None:
    """Draws the report of a run whose tables are written.

    Args:
        run: the run.
        records: what the steps before the last have left.
        summary: the run as a whole.
        verdicts: of what was expected of the run.
        comparison: of the run with another one.
    """
    lock = read_lock(run.folder)
    counts = Counts(
        files=summary.files,
        sent=records.ingested.sent,
        processed=summary.processed,
        failed=summary.failed,
        rejected=summary.rejected,
        predictions=summary.predictions,
    )
    report = Report(
        key=summary.key,
        source=summary.source,
        workflow=summary.workflow,
        platform=summary.platform,
        workspace=summary.workspace,
        batch_id=summary.batch_id,
        job_id=summary.job_id,
        started=summary.started,
        finished=summary.finished,
        command=lock["command"],
        replay=replay_command(summary.key, run.target.request.runs, run.target.request.credentials),
        counts=counts,
        steps=_steps(records, summary),
        data=read_report_data(run.folder.root, _source_opener(run)),
        versions=lock["versions"] | {"workflow": (summary.workflow_digest or "not shown by the platform")[:16]},
        notes=_notes(records),
        verdicts=verdicts,
        comparison=comparison,
    )
    write_report(run.folder.report, report)


def _steps(records: StepRecords, summary: RunSummary) -> tuple[StepTime, ...]:
    staged, ingested, finished, exported = records.staged, records.ingested, records.finished, records.exported
    return (
        StepTime("stage", staged.seconds, f"{staged.files} files, {staged.bytes / 1e6:.1f} MB", staged.files),
        # A platform that fetches the files itself moves the bytes, not this step.
        StepTime(
            "ingest",
            ingested.seconds,
            _sent(ingested),
            ingested.sent,
            None if ingested.by_reference else ingested.bytes,
        ),
        StepTime("launch", records.launched.seconds, f"job {records.launched.job_id}"),
        StepTime("wait", finished.seconds, f"{finished.tasks} tasks", exported.rows),
        StepTime(
            "export",
            exported.seconds,
            f"{exported.files} files, {exported.bytes / 1e6:.1f} MB",
            exported.files,
            exported.bytes,
        ),
        StepTime("summarize", summary.summarize_seconds, "reconciliation and report"),
    )


def _sent(ingested: Ingested) -> str:
    what = "by reference, chunks:" if ingested.by_reference else "in shards:"
    way = f"{what} {ingested.parts}" if ingested.parts else "one by one"
    return f"{ingested.sent} files {way}"


def _notes(records: StepRecords) -> tuple[str, ...]:
    exported = records.exported
    told = (
        (exported.duplicates, "second results for a file were left out; the first of each is kept"),
        (exported.unknown, "results for files that are not in the run, or that changed meanwhile, were left out"),
        (exported.unreadable, "results could not be read"),
        (exported.refused, "members of archives were left out as unsafe"),
        (exported.refused_files, "files of the output were left out: their names are unsafe or they are too large"),
        (records.staged.ignored, "files of the source are no images by their name and are not part of the run"),
    )
    return tuple(f"{count} {what}." for count, what in told if count)


def _source_opener(run: Run) -> OpenSource | None:
    """Opens the few source images that the contact sheet shows.

    What lies elsewhere stays there where the workflow has made pictures, which lie here.
    """
    source = run.target.source
    if not source.is_local and image_columns(run.folder.results):
        return None

    def open_source(key: str) -> IO[bytes]:
        return source.open(find_row(run.folder.manifest, key).item())

    return open_source
