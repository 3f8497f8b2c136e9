"""What a run does until its references are submitted, as a process: ``python -m tests.benchmarks.submit SOURCE RUNS``.

It connects to the platform and finds the workflow, lists the source into a manifest, makes the run's folder and lock,
and signs and submits the references under the run's journal. It does not wait until the platform has fetched them.
"""

from __future__ import annotations

import sys

from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import load_settings
from tasks.roboflow_api.platform import CLOUD
from tasks.roboflow_api.retrying import Timing
from tasks.steps.context import Run
from tasks.steps.referencing import Referral
from tasks.steps.stage import open_target, stage


def main(source: str, runs: str) -> None:
    request = RunRequest(source=source, workflow="minimal", platform=CLOUD, runs=runs, transfer="reference")
    with open_target(request, load_settings()) as target:
        staged = stage(target, Silent(), Timing())
        assert isinstance(staged, Staged)
        folder = RunFolder(staged.folder)
        with Journal(folder.journal) as journal:
            Referral(Run(target, folder, journal, Silent())).send()


if __name__ == "__main__":
    main(*sys.argv[1:])
