"""How a job is run and waited for.

None of it is part of a run's identity: the same work on another machine, or with more patience, is the same run.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.core.options import Options

MachineType = Literal["auto", "cpu", "gpu"]
WaitMode = Literal["poll", "suspend"]
OnCancel = Literal["abort", "leave"]


class JobOptions(Options):
    """What a job runs on, and its limits; a job that failed is restarted with the present ones."""

    machine_type: MachineType = Field(
        default="auto",
        title="Machine type",
        description="What the job runs on: cpu, gpu, or auto, the platform's choice. A GPU pays off with models only.",
    )
    workers_per_machine: int | None = Field(
        default=None, ge=1, title="Workers per machine", description="Worker processes on each machine. Example: 4"
    )
    max_runtime_seconds: int | None = Field(
        default=None,
        ge=1,
        title="Machine time allowed",
        description="Seconds of machine time, all machines together, that the job may take; the platform divides them "
        "over the job's tasks, so ten machines reach a cap of an hour in six minutes. Example: 3600",
    )
    max_parallel_tasks: int | None = Field(
        default=None,
        ge=1,
        title="Parallel tasks",
        description="Most tasks, of up to 500 images each, at the same time.",
    )
    max_image_failure_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Failure rate allowed",
        description="Share of a task's images that may fail before the job fails, from 0 to 1. Empty: the platform's "
        "limit, ten images a task.",
    )
    notifications_url: str = Field(
        default="",
        title="Notifications URL",
        description="Where the platform posts the job's end; with wait mode suspend the receiver's own is used. It is "
        "stored in plain text, so it must not hold a secret.",
    )


class WaitOptions(Options):
    """How a job's end is waited for."""

    mode: WaitMode = Field(
        default="poll",
        title="Mode",
        description="poll: this worker looks until the job has ended. suspend, for deployments: the flow run gives its "
        "worker back, and the receiver of notifications or the flow reap-runs resumes it.",
    )
    deadline_hours: float = Field(
        default=168.0,
        gt=0,
        le=168.0,
        title="Deadline",
        description="Hours after which a job that is still running fails the run; data is kept for 168.",
    )
    stall_minutes: float = Field(
        default=30.0, gt=0, title="Stall", description="Minutes without any progress after which a warning is logged."
    )
    on_cancel: OnCancel = Field(
        default="abort",
        title="On cancel",
        description="What becomes of the job when the flow run is cancelled or killed: abort it, or leave it running "
        "for the same request to find.",
    )
