"""The task that compares a finished run with an earlier one, and what is shown of a comparison."""

from __future__ import annotations

from prefect import task
from prefect.events import emit_event
from prefect.logging import get_run_logger

from tasks.artifacts import show_rows
from tasks.results.compare import Comparison
from tasks.retries import STEP
from tasks.steps.context import Run
from tasks.steps.judging import compare_finished

DRIFTED = "darkroom.run.drifted"
"""The event of a run that changed by more than is borne against the one it was compared with."""


@task(name="compare", task_run_name="compare", **STEP)
def compare_run(run: Run) -> Comparison | None:
    """Compares a run that was finished before with the one that is asked for."""
    comparison = compare_finished(run)
    show_comparison(comparison)
    return comparison


def show_comparison(comparison: Comparison | None) -> None:
    """A table of the measures, a warning and an event where one is beyond its limit."""
    logger = get_run_logger()
    if comparison is None:
        logger.info("compare: there is no earlier finished run of the same request")
        return
    rows = [
        {
            "measure": measure.name,
            comparison.other: measure.before,
            comparison.key: measure.now,
            "change": "" if measure.change is None else f"{measure.change:.3f}",
            "limit": f"{measure.limit:g}",
            "beyond": "yes" if measure.beyond else "no",
        }
        for measure in comparison.measures
    ]
    show_rows("comparison", rows, f"Run `{comparison.key}` against `{comparison.other}`")
    beyond = [measure.name for measure in comparison.measures if measure.beyond]
    if not beyond:
        logger.info("compare: nothing beyond its limit against run %s", comparison.other)
        return
    logger.warning("compare: beyond the limit against run %s: %s", comparison.other, ", ".join(beyond))
    emit_event(
        DRIFTED,
        resource={"prefect.resource.id": f"darkroom.run.{comparison.key}", "prefect.resource.name": comparison.key},
        payload={"against": comparison.other, "beyond": beyond, "measures": rows},
    )
