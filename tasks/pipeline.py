"""What flows of one's own are made of: a run, and the six tasks that it goes through.

``open_run`` stages what a request names and holds the run for as long as the block lasts; ``ingest_files``,
``launch_job``, ``wait_for_job``, ``export_results`` and ``summarize_run`` take it from there, in this order, and leave
their records in the run's folder. What an earlier, killed flow did is found and not repeated. Names and signatures here
change with a new major version only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from tasks.core.records import NothingNew, RunSummary
from tasks.core.request import RunRequest
from tasks.core.settings import Settings
from tasks.datasets import write_run_datasets
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.named_blocks import flow_settings
from tasks.own_flow_run import INTERRUPTIONS, open_flow_runs, own_id, own_run, tag_flow_run
from tasks.publish import publish_results
from tasks.single_runs import check_single
from tasks.stage import stage_media
from tasks.steps.conclude import Means, bring_home, conclude, failing_at_home
from tasks.steps.context import Run
from tasks.steps.holding import hold, leaving_no_job
from tasks.steps.judging import finished_as_asked
from tasks.steps.stage import open_target
from tasks.summarize import summarize_run
from tasks.wait import wait_for_job

__all__ = [
    "Run",
    "RunRequest",
    "RunSummary",
    "export_results",
    "ingest_files",
    "launch_job",
    "open_run",
    "stage_media",
    "summarize_run",
    "wait_for_job",
]


@contextmanager
def open_run(request: RunRequest) -> Iterator[Run]:
    """Stages what a request names, and holds its run.

    When the block is interrupted, the job is aborted, unless ``wait.on_cancel`` says to leave it; that of a flow run
    that has crashed is aborted by the flow ``reap-runs``, at once where the flow's name begins with ``process-``, else
    by its schedule. When the block ends and the run is finished, datasets are written and results published where that
    is asked for.

    Args:
        request: what is wanted; incremental runs, pilots and suspension are for the flow ``process-images``. Where it
            does not say where runs lie, ``DARKROOM_RUNS`` does.

    Raises:
        BadInput: source, workflow, parameters, platform or an option cannot be used, or there are no images.
        RunFailed: a step of the block has failed, or an expectation was missed.
    """
    begun = time.monotonic()
    check_single(request)
    settings, own = flow_settings(), own_id()
    tag_flow_run(source=request.source, workflow=request.workflow)
    with open_target(_placed(request, settings), settings) as target:
        staged = stage_media(target)
        assert not isinstance(staged, NothingNew), "incremental requests are refused"
        with hold(target, staged, get_run_logger().warning, begun) as run, failing_at_home(run, own):
            own_run(run)
            bring_home(run)
            with leaving_no_job(run, own, INTERRUPTIONS):
                yield run
            _conclude(run, own)


def _placed(request: RunRequest, settings: Settings) -> RunRequest:
    """The request, which says where its run lies."""
    return request if "runs" in request.model_fields_set else request.model_copy(update={"runs": settings.runs})


def _conclude(run: Run, own: str) -> None:
    """What follows a finished run; of one that is not, what there is lies in its bucket."""
    summary = finished_as_asked(run)
    if summary is None:
        bring_home(run)
    else:
        conclude(run, summary, Means(own, open_flow_runs, write_run_datasets, publish_results))
