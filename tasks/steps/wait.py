"""Wait: look at the job until it has ended, and keep what it said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import JobFailed, JobTimedOut, NotFound
from tasks.core.files import appearing
from tasks.core.records import Finished, StageOutput
from tasks.roboflow_api.models import JobLog, JobMetadata, JobStage, Notification, TaskStatus
from tasks.roboflow_api.polling import poll_until
from tasks.steps.context import Run, gone

STEP = "wait"
DEADLINE = 7 * 24 * 3600.0
"""The data of a batch is kept for seven days; a job that is not through by then never will be."""
IMAGE_FAILED = "image-processing-failed"
ROWS_PER_GROUP = 10_000
PERCENT = 100
PERCENT_SECONDS = 1.0
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("stage", pa.string()),
        ("task", pa.string()),
        ("status", pa.string()),
        ("progress", pa.float64()),
        ("module", pa.string()),
        ("type", pa.string()),
        ("image", pa.string()),
        ("message", pa.string()),
    ],
    metadata={"darkroom.schema": "job/1"},
)


@dataclass(frozen=True)
class JobState:
    """What one look at the job shows; ``percent`` is of the stage under way."""

    stage: str
    percent: int
    terminal: bool
    error: bool


def wait(run: Run) -> Finished:
    """Waits for the job's end and writes ``job.parquet``: its stages, tasks and logs.

    Raises:
        JobFailed: the platform reports an error; the message holds the most common reasons.
        JobTimedOut: the deadline has passed.
    """
    return run.once(STEP, Finished, lambda: _wait(run))


def _wait(run: Run) -> Finished:
    begun = run.timing.clock()
    reported = 0

    def report(state: JobState) -> None:
        nonlocal reported
        overall = _overall(state)
        run.progress.advance(STEP, max(0, overall - reported), PERCENT)
        reported = max(reported, overall)

    state = poll_until(
        _Watch(run),
        lambda seen: seen.terminal,
        deadline=DEADLINE,
        pace=run.platform.pace,
        timing=run.timing,
        on_change=report,
    )
    if state is None:
        raise JobTimedOut(f"job {run.remote_id} is still running after {DEADLINE / 3600:.0f} h")
    return _conclude(run, begun)


class _Watch:
    """Looks at the job; how far its tasks are takes two more requests, and is asked at most once a second."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._percent = 0
        self._asked = -PERCENT_SECONDS

    def __call__(self) -> JobState:
        try:
            job = self._run.platform.processing.job(self._run.remote_id)
        except NotFound:
            raise gone(self._run, "job") from None
        now = self._run.timing.clock()
        if not job.is_terminal and job.current_stage and now - self._asked >= PERCENT_SECONDS:
            self._asked, self._percent = now, _percent(self._run, job.current_stage)
        return JobState(job.current_stage or "scheduled", self._percent, job.is_terminal, job.error)


def _percent(run: Run, name: str) -> int:
    processing = run.platform.processing
    for stage in processing.stages(run.remote_id):
        if name in (stage.processing_stage_name, stage.processing_stage_id):
            tasks = processing.tasks(run.remote_id, stage.processing_stage_id)
            through = sum(1.0 if task.status_type != "info" else task.progress or 0.0 for task in tasks)
            return int(PERCENT * through / max(1, stage.tasks_number))
    return 0


def _overall(state: JobState) -> int:
    """Processing is nearly all of a job's work; export is the rest."""
    if state.terminal:
        return PERCENT
    return 90 + state.percent // 10 if state.stage == "export" else state.percent * 9 // 10


def _conclude(run: Run, begun: float) -> Finished:
    processing = run.platform.processing
    job, stages = processing.job(run.remote_id), processing.stages(run.remote_id)
    tasks = {
        stage.processing_stage_id: list(processing.tasks(run.remote_id, stage.processing_stage_id)) for stage in stages
    }
    failures = _write(run, stages, tasks)
    if job.error:
        raise JobFailed(_explain(run, job, tasks))
    return Finished(
        job_id=run.remote_id,
        tasks=sum(stage.tasks_number for stage in stages),
        export_batch=_export_batch(run, stages),
        outputs=tuple(_output(stage) for stage in stages),
        failures=failures,
        seconds=run.timing.clock() - begun,
        job_seconds=(job.last_update - job.created_at).total_seconds(),
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


def _explain(run: Run, job: JobMetadata, tasks: dict[str, list[TaskStatus]]) -> str:
    failed = [task for group in tasks.values() for task in group if "error" in task.status_type.lower()]
    reasons = Counter(_text(task.notification) for task in failed)
    if not reasons and job.last_notification:
        reasons = Counter([_text(job.last_notification)])
    said = "; ".join(f"{reason} ({times}x)" for reason, times in reasons.most_common(3)) or "no reason given"
    return f"job {run.remote_id} failed: {said}. After mending the cause, pass --rerun LABEL for a run afresh"


def _write(run: Run, stages: list[JobStage], tasks: dict[str, list[TaskStatus]]) -> int:
    """Writes ``job.parquet``; gives the number of images that the logs report as failed."""
    failures, rows = 0, []
    with appearing(run.folder.job) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
        for row in _rows(run, stages, tasks):
            failures += row.get("type") == IMAGE_FAILED
            rows.append(row)
            if len(rows) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return failures


def _rows(run: Run, stages: list[JobStage], tasks: dict[str, list[TaskStatus]]) -> Iterator[dict[str, Any]]:
    for stage in stages:
        name = stage.processing_stage_name
        yield _row("stage", stage.last_event_timestamp, name, stage.status_type, _text(stage.notification))
        for task in tasks[stage.processing_stage_id]:
            row = _row("task", task.event_timestamp, name, task.status_type, _text(task.notification))
            yield row | {"task": task.task_id, "progress": task.progress}
    for log in run.platform.processing.logs(run.remote_id):
        yield _log_row(log)


def _row(kind: str, time: datetime, stage: str | None, status: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "time": time, "stage": stage, "status": status, "message": message}


def _log_row(log: JobLog) -> dict[str, Any]:
    failed = log.log_type == IMAGE_FAILED
    message = str(log.payload.get("reason")) if failed else _text(log.payload)
    row = _row("log", log.created_at, log.processing_stage_id, log.severity, message)
    image = log.payload.get("image") if failed else None
    return row | {"task": log.task_id, "module": log.reporting_module, "type": log.log_type, "image": image}


def _text(notification: Notification) -> str:
    return notification if isinstance(notification, str) else json.dumps(notification, ensure_ascii=False)
