"""The task that summarizes: all records in, reconciliation, report and summary out."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from tasks.artifacts import show_link, show_markdown, show_rows, show_table
from tasks.assets import batch_asset, materialized, place_asset
from tasks.compare import show_comparison
from tasks.core.progress import ambient
from tasks.core.records import RunSummary
from tasks.results.expectations import Verdict
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.judging import Judgement, finished_as_asked
from tasks.steps.summarize import records_of, summarize


@task(name="summarize", task_run_name="summarize", **STEP)
def summarize_run(run: Run) -> RunSummary:
    """Accounts for every staged file, draws the report, and writes ``summary.parquet``, last of all.

    A run that is finished as it is asked for has all that already.

    Raises:
        BadInput: a step before has not been carried out.
        RunIncomplete: files are missing from the reconciliation.
        RunFailed: not one file could be processed.
        ExpectationsMissed: the results are not what was expected of them.
    """
    known = finished_as_asked(run, show_verdicts)
    if known is not None:
        return known

    def show(judgement: Judgement) -> None:
        show_link("report", run.folder.report)  # there from here on, also for a run that fails now
        show_verdicts(judgement)
        if run.target.request.comparison.against:
            show_comparison(judgement.comparison)

    summary = summarize(run, records_of(run), run.begun, show)
    ambient().advance("summarize", 1, 1)
    get_run_logger().info("summarize: %s", summary.line())
    results = place_asset(str(summary.folder), f"run {summary.key}", summary.line())
    materialized(results, batch_asset(run.platform, summary.batch_id))
    show_table("summarize", summary.model_dump(), f"Run `{summary.key}`")
    show_link("summarize", run.folder.summary)
    show_markdown("summary", markdown(summary), f"Run {summary.key}")
    return summary


def show_verdicts(judgement: Judgement) -> None:
    """What was expected of a run and what was found, a row each; nothing where nothing was expected."""
    if judgement.verdicts:
        show_rows("expectations", [_verdict_row(verdict) for verdict in judgement.verdicts], "What was expected")


def _verdict_row(verdict: Verdict) -> dict[str, str]:
    return {
        "expectation": verdict.name,
        "wanted": verdict.wanted,
        "found": verdict.found,
        "met": "yes" if verdict.met else "no",
    }


def markdown(summary: RunSummary) -> str:
    """The run in a screenful of markdown."""
    rows = {
        "Source": f"`{summary.source}`",
        "Workflow": f"`{summary.workflow}` on {summary.platform}",
        "Batch and job": f"`{summary.batch_id}`",
        "Files": summary.files,
        "Processed": summary.processed,
        "Failed": summary.failed,
        "Rejected": summary.rejected,
        "Predictions": summary.predictions,
        "Seconds": f"{summary.seconds:.1f}",
        "Folder": f"`{summary.folder}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# Run {summary.key}\n\n| | |\n|---|---|\n{table}\n"
