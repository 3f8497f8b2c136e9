"""Wait: look at the job until it has ended, and keep what it said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from tasks.core.errors import JobAborted, JobFailed, JobTimedOut, RunFailed
from tasks.core.records import Finished, StageOutput
from tasks.core.redaction import redact
from tasks.roboflow_api.models import JobLog, JobMetadata, JobStage, TaskStatus
from tasks.roboflow_api.polling import poll_until
from tasks.steps.context import WAIT, Run
from tasks.steps.job_record import IMAGE_FAILED, words_of, write_job
from tasks.steps.watching import Watch

MOST_REASONS = 3
ABORTED = re.compile(r"(?:the )?(?:job )?(?:(?:was|is|has been) )?(?:abort|cancel|stopp?ed by)", re.IGNORECASE)
"""How a platform begins to say that somebody stopped a job."""
NOT_FINISHED = "not finished"
"""What this project's server says of tasks that a job's end has cut off; no reason for anything."""


def wait(run: Run) -> Finished:
    """Waits for the job's end and writes ``job.parquet``: its stages, tasks and logs.

    Raises:
        JobFailed: the platform reports an error; the message holds the most common reasons.
        JobAborted: somebody stopped the job.
        JobTimedOut: the deadline has passed, and the job was still running at a last look.
    """
    return run.once(WAIT, Finished, lambda: _wait(run))


def _wait(run: Run) -> Finished:
    begun, watch = run.timing.clock(), Watch(run)
    state = poll_until(
        watch,
        lambda seen: seen.terminal,
        deadline=run.target.request.wait.deadline_hours * 3600,
        pace=run.platform.pace,
        timing=run.timing,
        on_change=watch.report,
    )
    if state is None:
        raise overdue(run)
    return _conclude(run, begun, watch.start_up)


def overdue(run: Run) -> JobTimedOut:
    """The error for a job that still runs when the deadline has passed."""
    return JobTimedOut(
        f"job {run.remote_id} is still running after {run.target.request.wait.deadline_hours:g} h, and goes on: "
        f"run the same command to wait for it, or stop it with darkroom abort {run.folder.key}"
    )


def _conclude(run: Run, begun: float, start_up: tuple[float, float]) -> Finished:
    processing = run.platform.processing
    job, stages = processing.job(run.remote_id), processing.stages(run.remote_id)
    tasks = {
        stage.processing_stage_id: list(processing.tasks(run.remote_id, stage.processing_stage_id)) for stage in stages
    }
    failures = write_job(run, stages, tasks)
    if job.error:
        raise _explain(run, job, [task for group in tasks.values() for task in group])
    return Finished(
        job_id=run.remote_id,
        tasks=sum(stage.tasks_number for stage in stages),
        export_batch=_export_batch(run, stages),
        outputs=tuple(_output(stage) for stage in stages),
        failures=failures,
        seconds=run.timing.clock() - begun,
        job_seconds=(job.last_update - job.created_at).total_seconds(),
        start_up=start_up,
    )


def _export_batch(run: Run, stages: list[JobStage]) -> str:
    """The batch that users take: the export stage's, else the last stage's."""
    giving = [stage for stage in stages if stage.output_batches]
    if not giving:
        raise JobFailed(f"job {run.remote_id} ended without an output batch")
    named = [stage for stage in giving if "export" in stage.processing_stage_name.lower()]
    return _output((named or giving)[-1]).batch


def _output(stage: JobStage) -> StageOutput:
    batch = stage.output_batches[0] if stage.output_batches else ""
    return StageOutput(id=stage.processing_stage_id, name=stage.processing_stage_name, batch=batch)


def _explain(run: Run, job: JobMetadata, tasks: list[TaskStatus]) -> RunFailed:
    """The error for a job that ended badly, with how far it was and the most common reasons."""
    done = sum("success" in task.status_type.lower() for task in tasks)
    far = f"{done} of {len(tasks)} tasks were done"
    again = "run the same command to restart it with what is left"
    said = words_of(job.last_notification) if job.last_notification else ""
    if ABORTED.match(said):
        return JobAborted(f"job {run.remote_id} was aborted ({far}): {redact(said)}; {again}")
    reasons = Counter(_failures(tasks)) + Counter(_image_failures(run)) or Counter(_errors(run))
    told = [said] if said and said not in reasons else []
    told += [f"{reason} ({times}x)" for reason, times in reasons.most_common(MOST_REASONS)]
    reason = redact("; ".join(told)) or "no reason given"
    return JobFailed(f"job {run.remote_id} failed ({far}): {reason}. After mending the cause, {again}")


def _image_failures(run: Run) -> Iterator[str]:
    return _errors(run, lambda log: log.log_type == IMAGE_FAILED)


def _errors(run: Run, wanted: Callable[[JobLog], bool] = lambda _log: True) -> Iterator[str]:
    return (words_of(log.payload) for log in run.platform.processing.logs(run.remote_id, "error") if wanted(log))


def _failures(tasks: list[TaskStatus]) -> Iterator[str]:
    said = (words_of(task.notification) for task in tasks if "error" in task.status_type.lower())
    return (reason for reason in said if reason != NOT_FINISHED)
