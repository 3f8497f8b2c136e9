"""Compiling: a platform builds a model for devices, in a job whose id is fixed before the platform hears of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.errors import Conflict, JobFailed, JobTimedOut, NotFound, RequestRefused
from tasks.core.identity import KEY_DIGITS, digest_json
from tasks.core.progress import Progress, Silent
from tasks.core.records import Compiled
from tasks.core.redaction import redact
from tasks.core.request import MOST_LABEL_CHARACTERS
from tasks.roboflow_api.models import CompilationDevice, JobLog, JobMetadata, Notification, TrtCompilationJob
from tasks.roboflow_api.platform import Platform
from tasks.roboflow_api.polling import poll_until
from tasks.roboflow_api.retrying import Timing
from tasks.steps.job_record import words_of
from tasks.steps.launch import agrees

STEP = "compile"
DEADLINE_HOURS = 24.0
MOST_HOURS = 168.0
SECONDS_PER_HOUR = 3600
PERCENT = 100
MOST_LOGS = 1000
MOST_REASONS = 3
MOST_REASON_CHARACTERS = 300

Hours = Annotated[float, Field(gt=0, le=MOST_HOURS)]
Label = Annotated[str, Field(max_length=MOST_LABEL_CHARACTERS)]


class CompilationOptions(BaseModel):
    """For which devices a model is compiled, under which label, and for how long that is waited for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: tuple[CompilationDevice, ...] = ()
    """Empty: the platform's choice."""
    rerun: Label = ""
    deadline_hours: Hours = DEADLINE_HOURS


@dataclass(frozen=True)
class Compilation:
    """A model that is to be compiled.

    Attributes:
        platform: where.
        model: its id there.
        options: devices, label and deadline.
        progress: told how far the job is.
        tell: given the job's stages, for the person who waits.
        timing: clock and sleep.
    """

    platform: Platform
    model: str
    options: CompilationOptions = field(default_factory=CompilationOptions)
    progress: Progress = field(default_factory=Silent)
    tell: Callable[[str], None] = logging.getLogger(__name__).info
    timing: Timing = field(default_factory=Timing)

    @property
    def devices(self) -> tuple[CompilationDevice, ...]:
        """The devices in the one order that the same wish always has."""
        return tuple(sorted(set(self.options.devices)))

    @property
    def job_id(self) -> str:
        """19 characters that follow from workspace, model, devices and label; the contract allows 20."""
        asked = {
            "workspace": self.platform.workspace,
            "model": self.model,
            "devices": self.devices,
            "rerun": self.options.rerun,
        }
        return f"dc-{digest_json(asked)[:KEY_DIGITS]}"

    def job(self) -> TrtCompilationJob:
        """The job as the contract wants it."""
        return TrtCompilationJob(model_id=self.model, compilation_devices=list(self.devices) or None)


@dataclass(frozen=True)
class _Seen:
    """What one look at the job shows; the same stage is no news."""

    stage: str
    job: JobMetadata = field(compare=False)


def compile_remotely(compilation: Compilation) -> Compiled:
    """Asks for the compilation, or attaches to the job that is there, and waits for its end.

    Raises:
        Conflict: a job of that id is there and does something else.
        RequestRefused: the platform does not compile, or not this model.
        JobFailed: the platform reports an error, now or from an earlier try.
        JobTimedOut: the deadline has passed.
    """
    begun = compilation.timing.clock()
    there = _start(compilation)
    job = _wait(compilation)
    if job.error:
        raise JobFailed(_explain(compilation, job, before=there is not None and there.is_terminal))
    return Compiled(
        job_id=compilation.job_id,
        model=compilation.model,
        devices=compilation.devices,
        attached=there is not None,
        seconds=compilation.timing.clock() - begun,
    )


def _start(compilation: Compilation) -> JobMetadata | None:
    """Posts the job where there is none; else gives the one that is there.

    A lost answer cannot start a second job: the platform is asked before and after.
    """
    there, job = compilation.platform.processing.find(compilation.job_id), compilation.job()
    if there is None:
        try:
            compilation.platform.processing.create(compilation.job_id, job, name=compilation.job_id)
        except Conflict:
            there = compilation.platform.processing.find(compilation.job_id)
            if there is None:
                raise
    if there is not None and not agrees(job.wire(), _in_order(there.job_definition)):
        raise Conflict(
            f"job {compilation.job_id} is on the platform already and does something else: "
            "pass --rerun LABEL for a job of its own"
        )
    return there


def _in_order(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition with its devices in our order; a platform may have one of its own."""
    devices = definition.get("compilationDevices")
    return definition | {"compilationDevices": sorted(map(str, devices))} if isinstance(devices, list) else definition


def _wait(compilation: Compilation) -> JobMetadata:
    reported = 0

    def report(seen: _Seen) -> None:
        nonlocal reported
        if not seen.job.is_terminal:
            compilation.tell(f"job {compilation.job_id} on {compilation.platform.name}: {seen.stage}")
        percent = _percent(seen.job)
        compilation.progress.advance(STEP, max(0, percent - reported), PERCENT)
        reported = max(reported, percent)

    seen = poll_until(
        lambda: _look(compilation),
        lambda seen: seen.job.is_terminal,
        deadline=compilation.options.deadline_hours * SECONDS_PER_HOUR,
        pace=compilation.platform.pace,
        timing=compilation.timing,
        on_change=report,
    )
    if seen is None:
        raise JobTimedOut(
            f"job {compilation.job_id} is still running after {compilation.options.deadline_hours:g} h: "
            "the same command goes on waiting for it"
        )
    return seen.job


def _look(compilation: Compilation) -> _Seen:
    job = compilation.platform.processing.find(compilation.job_id)
    if job is None:
        raise NotFound(
            f"{compilation.platform.name} has no job {compilation.job_id} any more: the same command asks for it anew"
        )
    return _Seen("ended" if job.is_terminal else job.current_stage or "scheduled", job)


def _percent(job: JobMetadata) -> int:
    """Of the planned stages, those that are over; how far a stage is in itself no platform says."""
    if job.is_terminal:
        return PERCENT
    planned = job.planned_stages or []
    return PERCENT * planned.index(job.current_stage) // len(planned) if job.current_stage in planned else 0


def _explain(compilation: Compilation, job: JobMetadata, *, before: bool) -> str:
    said = "; ".join(_reasons(compilation, job)) or "no reason given"
    return (
        f"job {compilation.job_id}, which compiles {compilation.model}, failed{' before' if before else ''}: {said}. "
        "After mending the cause, pass --rerun LABEL for another try"
    )


def _reasons(compilation: Compilation, job: JobMetadata) -> list[str]:
    """The platform's last word, then what its log tells as errors, the most common first; each once."""
    logged = Counter(_words(log.payload) for log in _errors(compilation))
    words = [_words(job.last_notification or ""), *(text for text, _times in logged.most_common())]
    return list(dict.fromkeys(filter(None, words)))[:MOST_REASONS]


def _errors(compilation: Compilation) -> list[JobLog]:
    """The first errors of the job's log; a platform without one does not hide that the job has failed."""
    try:
        return list(islice(compilation.platform.processing.logs(compilation.job_id, "error"), MOST_LOGS))
    except RequestRefused:
        return []


def _words(said: Notification) -> str:
    """A notification or a log's payload on one line."""
    return " ".join(redact(words_of(said)).split())[:MOST_REASON_CHARACTERS]
