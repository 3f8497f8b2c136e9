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

from tasks.core.errors import BadInput
from tasks.core.records import NothingNew, RunSummary
from tasks.core.request import RunRequest
from tasks.core.settings import load_settings
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.stage import stage_media
from tasks.steps.context import Run
from tasks.steps.holding import hold
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

    Args:
        request: what is wanted; incremental runs, pilots and suspension are for the flow ``process-images``.

    Raises:
        BadInput: source, workflow, parameters, platform or an option cannot be used, or there are no images.
    """
    for name, asked in (("only_new", request.only_new), ("pilot", request.pilot.files)):
        if asked:
            raise BadInput(f"{name} is for the flow process-images: leave it out here")
    begun = time.monotonic()
    with open_target(request, load_settings()) as target:
        staged = stage_media(target)
        assert not isinstance(staged, NothingNew), "only incremental runs may find nothing"
        with hold(target, staged, get_run_logger().warning, begun) as run:
            yield run
