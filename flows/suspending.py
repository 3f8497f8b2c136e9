"""How a flow run gives its worker back while its job runs, or until a person lets it go on."""

from __future__ import annotations

from uuid import uuid4

from prefect import suspend_flow_run
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from tasks.core.errors import BadInput
from tasks.core.request import RunRequest
from tasks.ingest import send_files
from tasks.own_flow_run import own_id
from tasks.roboflow_api.platform import EMBEDDED
from tasks.steps.context import INGEST, WAIT, Run, Target
from tasks.steps.flow_runs import note_suspension, run_slept_on
from tasks.steps.piloting import note_asked, run_asked_by
from tasks.steps.reaping import job_has_ended
from tasks.steps.wait import overdue

SPARE_SECONDS = 24 * 3600
"""What a suspension lasts beyond the deadline, so that it is reap-runs that ends it, and not Prefect."""


def check_wait(request: RunRequest) -> None:
    """Sees that the flow run can wait as it was asked to.

    Raises:
        BadInput: it cannot suspend itself.
    """
    if request.wait.mode != "suspend":
        return
    if request.platform == EMBEDDED:
        raise BadInput(
            "wait mode suspend needs a platform that works on without this process: the embedded server ends with it; "
            "start one with darkroom server and pass --platform URL, or wait with mode poll"
        )
    if not can_suspend():
        raise BadInput("wait mode suspend is for deployments, which a worker resumes: wait with mode poll here")


def suspended_before(target: Target) -> str | None:
    """The key of the run that this flow run waited for when it suspended itself, or ``None``."""
    return None if target.request.wait.mode != "suspend" else run_slept_on(target.runs, own_id())


def can_suspend() -> bool:
    """Whether this flow run can be suspended until a person resumes it."""
    return _flow_run().deployment_id is not None


def asked_before(target: Target) -> str | None:
    """The key of the run whose pilot this flow run has shown to a person, or ``None``."""
    if not (target.request.pilot.files and can_suspend()):
        return None
    return run_asked_by(target.runs, own_id())


def suspend_until_approved(run: Run) -> None:
    """Gives the worker back until a person resumes this flow run; comes back at once where one has.

    Prefect lets a known key pass, so that being resumed is the answer. Which run was asked for stands in that run's
    journal: the flow begins from the top, and its source may hold other files by then.

    Raises:
        Pause: the way in which Prefect ends the process of a suspended flow run.
    """
    if note_asked(run.journal, own_id()):
        run.on_step()
        get_run_logger().info("pilot: run %s goes on when a person resumes this flow run", run.folder.key)
    suspend_flow_run(key=f"pilot-{run.folder.key}")


def suspend_until_ended(run: Run) -> None:
    """Gives the worker back until the job has ended; comes back at once where that is so, or where a worker polls.

    The job is looked at just before: what ends earlier needs no suspension, and for what ends afterwards the receiver
    of notifications or the flow reap-runs resumes the flow run, which then begins from the top.

    Raises:
        JobTimedOut: the deadline has passed.
        Pause: the way in which Prefect ends the process of a suspended flow run.
    """
    if run.target.request.wait.mode != "suspend" or run.journal.confirmed(WAIT, "record"):
        return
    if job_has_ended(run.platform, run.folder.key):
        return
    left = note_suspension(run, own_id(), WAIT, run.target.request.wait.deadline_hours, run.timing.now())
    if left <= 0:
        raise overdue(run)
    _suspend(run, left, f"wait: suspended until job {run.remote_id} has ended")


def suspend_until_arrived(run: Run, files: int) -> None:
    """Gives the worker back until the platform has fetched the files; comes back at once where it need not.

    The files are those that are ingested by reference; what is uploaded from here needs this process.

    Args:
        run: the run.
        files: files to send.

    Raises:
        Pause: as above.
    """
    if run.target.request.wait.mode != "suspend" or not send_files(run):
        return
    left = note_suspension(run, own_id(), INGEST, run.target.url_hours, run.timing.now())
    if left > 0:  # else the step itself says what is missing
        _suspend(run, left, f"ingest: suspended until batch {run.remote_id} has its {files} files")


def _suspend(run: Run, seconds: float, said: str) -> None:
    run.on_step()
    told = (
        "the receiver or reap-runs tells so" if run.webhook_url else "reap-runs sees it, as no receiver is configured"
    )
    get_run_logger().info("%s: %s", said, told)
    # Each suspension has a key of its own: Prefect lets a known one pass.
    suspend_flow_run(timeout=int(seconds) + SPARE_SECONDS, key=uuid4().hex)


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None, "called outside of a flow"
    assert context.flow_run is not None, "called before the flow run is known"
    return context.flow_run
