"""The flow that does a run again and says whether the results are the same."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from flows.reaping import stop_on_end
from flows.running import carry_out_request
from flows.secrets_by_name import storage_credentials
from tasks.core.errors import ResultsDiffer
from tasks.core.records import Replayed, RunSummary
from tasks.core.settings import Settings
from tasks.named_blocks import flow_settings
from tasks.replay import compare_replay
from tasks.steps.previous import open_run
from tasks.steps.replaying import replay_request
from tasks.steps.runs import open_runs


@flow(
    name="replay-run",
    flow_run_name="replay {run}",
    persist_result=False,
    on_cancellation=[stop_on_end],
    on_crashed=[stop_on_end],
)
def replay_run(run: Annotated[str, Field(min_length=1)], runs: str = "", credentials: str = "") -> Replayed:
    """Process the files of a finished run once more, as its run.json says, and compare the results row by row.

    Args:
        run: Key of the run, or its first digits. Example: 3f0c9d2b71aa45e8
        runs: Folder, here or in a bucket, that holds the runs. Empty: DARKROOM_RUNS, or ./runs
        credentials: Prefect block with the credentials for buckets. Empty: that of the run, or else the worker's own.
            Example: aws-credentials/mine

    Returns:
        How many files have the same results.

    Raises:
        BadInput: there is no such run, it is not finished, or its files are not the same any more.
        ResultsDiffer: the results are not the same.
    """
    settings = flow_settings()
    place = runs or settings.runs
    with storage_credentials(credentials):
        replayed = _replay(run, place, credentials, settings)
    if not replayed.identical:
        raise ResultsDiffer(replayed.line())
    return replayed


def _replay(run: str, place: str, credentials: str, settings: Settings) -> Replayed:
    opened = open_runs(place, settings)
    with open_run(opened, run, place, whole=True) as original:
        replay = replay_request(original, opened, place)
        for warning in replay.warnings:
            get_run_logger().warning("replay: %s", warning)
        named = credentials or replay.request.credentials
        with storage_credentials(named):
            summary = carry_out_request(replay.request.model_copy(update={"credentials": named}), settings)
            assert isinstance(summary, RunSummary), "only incremental runs may find nothing"
            return compare_replay(original, summary)
