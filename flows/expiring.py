"""The flow that fetches results before the platform forgets them, meant for a schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from flows.running import finish_ended
from flows.secrets_by_name import storage_credentials
from tasks.artifacts import show_table
from tasks.core.errors import DarkroomError, RunFailed
from tasks.core.records import Rescued
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.named_blocks import flow_settings
from tasks.steps.expiring import find_unfetched
from tasks.steps.runs import open_runs

DAYS_KEPT = 7
HOURS_BEFORE = 48.0


@flow(name="export-expiring", persist_result=False)
def export_expiring(
    within_hours: Annotated[float, Field(gt=0, le=DAYS_KEPT * 24)] = HOURS_BEFORE,
    runs: str = "",
    credentials: str = "",
) -> Rescued:
    """Finish the runs whose job is done and whose results nobody has fetched, before the platform forgets them.

    A platform keeps data for seven days. Runs are left without their export when their flow run was cancelled with the
    job left running, or when no worker was there to go on.

    Args:
        within_hours: Only runs whose data ends within so many hours; the time of a person who might finish them.
        runs: Folder, here or in a bucket, that holds the runs. Empty: DARKROOM_RUNS, or ./runs
        credentials: Prefect block with the credentials for buckets. Empty: the worker's own, and those that each run
            was begun with. Example: aws-credentials/mine

    Returns:
        Which runs were finished.

    Raises:
        BadInput: the place of the runs cannot be read.
        RunFailed: some could not be finished; the others are.
    """
    settings, logger = flow_settings(), get_run_logger()
    before = datetime.now(UTC) + timedelta(hours=within_hours)
    place, exported = runs or settings.runs, []
    with storage_credentials(credentials):
        opened = open_runs(place, settings)
        found, failed = find_unfetched(opened, settings, before, logger.warning)
    for run in found:
        logger.info("expiry: run %s is fetched; the platform forgets it at %s", run.key, run.ends.isoformat())
        try:
            with storage_credentials(run.request.credentials or credentials):
                exported.append(finish_ended(_at_work(run.request, place), run.key, opened, settings).key)
        except (DarkroomError, OSError) as error:
            logger.warning("expiry: run %s could not be finished: %s", run.key, redact(str(error)))
            failed.append(run.key)
    rescued = Rescued(exported=tuple(exported), failed=tuple(failed))
    show_table("expiry", rescued.model_dump(), rescued.line())
    if failed:
        raise RunFailed(rescued.line())
    return rescued


def _at_work(request: RunRequest, runs: str) -> RunRequest:
    """The request of a run that is finished by this flow run, where it was found; it suspends itself for nobody."""
    return request.model_copy(update={"wait": request.wait.model_copy(update={"mode": "poll"}), "runs": runs})
