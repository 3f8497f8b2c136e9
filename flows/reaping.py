"""The flow that looks after unfinished runs, meant for a schedule, and what hooks and notifications ask of it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger

from flows.secrets_by_name import storage_credentials
from tasks.artifacts import show_table
from tasks.core.errors import DarkroomError
from tasks.core.records import Reaped
from tasks.core.redaction import redact
from tasks.core.settings import Settings
from tasks.flow_runs import PrefectFlowRuns
from tasks.named_blocks import flow_settings, platform_login
from tasks.steps.reaping import Outcome, Platforms, act_on_claim, reap, stop_lost, unfinished
from tasks.steps.runs import open_runs


@flow(name="reap-runs", persist_result=False)
def reap_runs(runs: str = "", credentials: str = "") -> Reaped:
    """Abort the jobs of runs that were cancelled or crashed, and resume the suspended ones whose job has ended.

    It is meant for a schedule: hooks do not always fire, and notifications get lost.

    Args:
        runs: Folder, here or in a bucket, that holds the runs. Empty: DARKROOM_RUNS, or ./runs
        credentials: Prefect block with the credentials for buckets. Empty: the worker's own. Example:
            aws-credentials/mine

    Returns:
        How many unfinished runs there are, and what was done.

    Raises:
        BadInput: the place of the runs cannot be read.
    """
    settings, now = flow_settings(), datetime.now(UTC)
    with storage_credentials(credentials), get_client(sync_client=True) as client:
        opened = open_runs(runs or settings.runs, settings)
        reaped = reap(opened, settings, PrefectFlowRuns(client), partial(get_run_logger().warning, "reap: %s"), now)
    show_table("reap", reaped.model_dump(), reaped.line())
    return reaped


def stop_on_end(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Hook of flows that run jobs: a flow run that was cancelled or has crashed leaves no job behind.

    It may run in a process that knows nothing of the flow, so it finds the run by the flow run's id.
    """
    settings, logger = flow_settings(), flow_run_logger(flow_run, flow)
    with ExitStack() as stack:
        stack.enter_context(storage_credentials(str(flow_run.parameters.get("credentials") or "")))
        runs = open_runs(str(flow_run.parameters.get("runs") or settings.runs), settings)
        platforms = Platforms(settings, stack)
        for run in unfinished(runs):
            if run.owner.flow_run != str(flow_run.id) or not run.owner.leaves_job:
                continue
            try:
                if stop_lost(runs, run, platforms.named):
                    logger.warning("the job of run %s is aborted: its flow run is %s", run.folder.key, state.name)
            except DarkroomError as error:  # the flow reap-runs tries again
                logger.warning("the job of run %s could not be aborted: %s", run.folder.key, redact(str(error)))


def follow_up(key: str, settings: Settings, runs: str) -> Outcome:
    """Acts on the claim that a run's job has ended; see :func:`tasks.steps.reaping.act_on_claim`.

    Args:
        key: the run's key.
        settings: of platform and runs.
        runs: where the runs lie.

    Raises:
        Transient: platform, bucket or Prefect do not answer: try again.
    """
    # What is found of a run in a bucket lies in a folder that is there for as long as the looking goes on.
    with closing(unfinished(open_runs(runs, settings), key)) as looking:
        found = next(looking, None)
        if found is None:
            return Outcome.NOTHING
        with get_client(sync_client=True) as client:
            return act_on_claim(found, settings.with_blocks(platform_login), PrefectFlowRuns(client))


def tell_prefect(event: str, key: str, payload: dict[str, Any]) -> None:
    """Emits an event that automations can act on; its resource is the run.

    Args:
        event: one of the names in :mod:`flows.notifications`.
        key: the run's key.
        payload: what was notified.
    """
    resource = {"prefect.resource.id": f"darkroom.run.{key}", "darkroom.outcome": str(payload.get("outcome", ""))}
    emit_event(event, resource=resource, payload=payload)
