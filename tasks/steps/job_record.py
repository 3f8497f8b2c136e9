"""``job.parquet``: a job's stages, tasks and logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.files import appearing
from tasks.roboflow_api.models import JobLog, JobStage, Notification, TaskStatus
from tasks.steps.context import Run

IMAGE_FAILED = "image-processing-failed"
ROWS_PER_GROUP = 10_000
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


def write_job(run: Run, stages: Sequence[JobStage], tasks: Mapping[str, Sequence[TaskStatus]]) -> int:
    """Writes ``job.parquet``; gives the number of images that the logs report as failed.

    Args:
        run: the run; its job's logs are fetched.
        stages: the job's stages.
        tasks: the tasks of each, by the stage's id.
    """
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


def text_of(notification: Notification) -> str:
    """What a platform says, as one text."""
    return notification if isinstance(notification, str) else json.dumps(notification, ensure_ascii=False)


def words_of(notification: Notification) -> str:
    """What a platform says, in words where it has some."""
    if isinstance(notification, dict):
        for name in ("reason", "message"):
            if isinstance(said := notification.get(name), str):
                return said
    return text_of(notification)


def _rows(run: Run, stages: Sequence[JobStage], tasks: Mapping[str, Sequence[TaskStatus]]) -> Iterator[dict[str, Any]]:
    for stage in stages:
        name = stage.processing_stage_name
        yield _row("stage", stage.last_event_timestamp, name, stage.status_type, text_of(stage.notification))
        for task in tasks[stage.processing_stage_id]:
            row = _row("task", task.event_timestamp, name, task.status_type, text_of(task.notification))
            yield row | {"task": task.task_id, "progress": task.progress}
    for log in run.platform.processing.logs(run.remote_id):
        yield _log_row(log)


def _row(kind: str, time: datetime, stage: str | None, status: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "time": time, "stage": stage, "status": status, "message": message}


def _log_row(log: JobLog) -> dict[str, Any]:
    row = _row("log", log.created_at, log.processing_stage_id, log.severity, words_of(log.payload))
    image = log.payload.get("image") if log.log_type == IMAGE_FAILED else None
    return row | {"task": log.task_id, "module": log.reporting_module, "type": log.log_type, "image": image}
