"""The step *export*, as a process: ``python -m tests.benchmarks.collect RUNS [tables]``.

It connects to the platform, lists the parts, fetches, checks and keeps every file under the run's journal, and unpacks
the archives; with ``tables`` it goes on to ``results.parquet`` and ``predictions.parquet``. There is no Prefect.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.roboflow_api.platform import CLOUD
from tasks.steps.collecting import choose
from tasks.steps.context import Run
from tasks.steps.stage import open_target

BATCH = "bench-export"
KEY = "be0c4be0c4be0c4b"


def main(runs: str, what: str = "") -> None:
    source = Path(runs).with_name("source")  # read by nobody any more
    source.mkdir()
    request = RunRequest(source=str(source), workflow="minimal", platform=CLOUD, runs=runs)
    folder = RunFolder(Path(runs) / KEY)
    with open_target(request, load_settings()) as target, Journal(folder.journal) as journal:
        run = Run(target, folder, journal, Silent())
        if what:
            _with_tables(run)
        else:
            choose(run, BATCH).fetch()


def _with_tables(run: Run) -> None:
    from tasks.core.records import Finished, StageOutput
    from tasks.steps.export import export

    stage = StageOutput(id="export", name="export", batch=BATCH)
    about = {"job_id": "bench", "tasks": 1, "failures": 0, "seconds": 0.0, "job_seconds": 0.0}
    export(run, Finished.model_validate({**about, "export_batch": BATCH, "outputs": [stage]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
