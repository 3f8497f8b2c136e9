"""What the flows share: a request is carried out, from staging to all that follows a finished run."""

from __future__ import annotations

import time

from prefect.logging import get_run_logger

from flows.suspending import (
    asked_before,
    can_suspend,
    check_wait,
    suspend_until_approved,
    suspend_until_arrived,
    suspend_until_ended,
    suspended_before,
)
from tasks.compare import compare_run
from tasks.core.records import NothingNew, Piloted, RunOutcome, RunSummary, Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.datasets import write_run_datasets
from tasks.export import export_results
from tasks.ingest import ingest_files
from tasks.launch import launch_job
from tasks.own_flow_run import INTERRUPTIONS, open_flow_runs, own_id, own_run, tag_flow_run
from tasks.pilot import show_pilot
from tasks.publish import publish_results
from tasks.stage import stage_media
from tasks.steps.conclude import Means, bring_home, conclude, failing_at_home
from tasks.steps.context import Run, Target
from tasks.steps.ended import open_ended
from tasks.steps.estimating import check_budget, estimate, known_bytes, measure, piloted, verdicts
from tasks.steps.holding import hold, leaving_no_job
from tasks.steps.judging import finished_as_asked
from tasks.steps.piloting import pilot_target
from tasks.steps.runs import Runs
from tasks.steps.stage import open_target, staged_before
from tasks.summarize import show_verdicts, summarize_run
from tasks.wait import wait_for_job


def carry_out_request(request: RunRequest, settings: Settings) -> RunOutcome:
    """Stages, and does what is left to do of the run that the request turns out to be.

    Raises:
        BadInput: source, workflow, parameters, platform or a wish cannot be used.
        RunFailed: the job failed, files are missing from the reconciliation, an expectation was missed, or the run
            would go beyond its budget.
    """
    begun = time.monotonic()
    check_wait(request)
    tag_flow_run(source=request.source, workflow=request.workflow)
    with open_target(request, settings) as target:
        if key := suspended_before(target):
            return _carry_on(*staged_before(target, key), begun, resumed=True)
        if key := asked_before(target):
            return _carry_on(*_approved(target, key), begun)
        staged = stage_media(target)
        if isinstance(staged, NothingNew):
            return staged
        return _pilot(target, staged) or _carry_on(target, staged, begun)


def finish_ended(request: RunRequest, key: str, runs: Runs, settings: Settings) -> RunSummary:
    """Finishes a run whose job has ended, whatever has become of its source and its workflow.

    Args:
        request: what it was asked to do.
        key: the run's.
        runs: where it was found.
        settings: of the platform.

    Raises:
        BadInput: the platform or the destination cannot be used any more.
        RunFailed: files are missing from the reconciliation, or an expectation was missed.
    """
    begun = time.monotonic()
    with open_ended(request, key, runs, settings) as (target, staged):
        return _carry_on(target, staged, begun, resumed=True)


def _pilot(target: Target, staged: Staged) -> Piloted | None:
    """Tries a run's first files where that is asked for; gives the outcome where the run ends with that.

    Raises:
        BudgetExceeded: the run would go beyond its budget.
        Pause: a person is asked.
    """
    pilot = pilot_target(target, staged)
    if pilot is None:
        return None
    options, folder = target.request.pilot, RunFolder(staged.folder)
    measured = measure(_finished_pilot(pilot))
    reckoned = estimate(measured, staged.to_send, known_bytes(folder.manifest), options.credits_per_machine_hour)
    judged = verdicts(options, measured, reckoned)
    show_pilot(staged.key, measured, reckoned, judged)
    check_budget(staged.key, judged)
    if judged:
        return None
    if not can_suspend():
        return piloted(target, staged, measured, reckoned)
    _ask(target, staged)
    return None


def _finished_pilot(target: Target) -> RunFolder:
    """The folder of a pilot, which is processed where that was not done before."""
    begun = time.monotonic()
    staged = stage_media(target)
    assert isinstance(staged, Staged), "a pilot is not incremental"
    with hold(target, staged, _warn, begun) as run:
        own_run(run)
        if finished_as_asked(run) is None:
            process_kept(run, staged.to_send)
        bring_home(run)
    return run.folder


def _approved(target: Target, key: str) -> tuple[Target, Staged]:
    """The run whose pilot was shown to a person, once that person lets it go on."""
    found = staged_before(target, key)
    _ask(*found)
    return found


def _ask(target: Target, staged: Staged) -> None:
    """Has a person say whether a run goes on after its pilot."""
    with hold(target, staged, _warn) as run:
        suspend_until_approved(run)


def _carry_on(target: Target, staged: Staged, begun: float, *, resumed: bool = False) -> RunSummary:
    """What is left to do of a staged run."""
    with hold(target, staged, _warn, begun, resumed=resumed) as run:
        own_run(run)
        known = finished_as_asked(run, show_verdicts)
        if known is not None and target.request.comparison.against:
            compare_run(run)
        with failing_at_home(run, own_id()):
            return _conclude(run, known or process_kept(run, staged.to_send))


def process_kept(run: Run, files: int) -> RunSummary:
    """:func:`process`, with what there is of the run in its bucket before, after each step, and when it fails."""
    bring_home(run)
    with failing_at_home(run):
        return process(run, files)


def process(run: Run, files: int) -> RunSummary:
    """The steps after staging, on a run that this process holds.

    Args:
        run: the run.
        files: files to send.
    """
    suspend_until_arrived(run, files)
    ingest_files(run)
    with leaving_no_job(run, own_id(), INTERRUPTIONS):
        launch_job(run)
        suspend_until_ended(run)
        wait_for_job(run)
    export_results(run)
    return summarize_run(run)


def _conclude(run: Run, summary: RunSummary) -> RunSummary:
    return conclude(run, summary, Means(own_id(), open_flow_runs, write_run_datasets, publish_results))


def _warn(text: str) -> None:
    get_run_logger().warning(text)
