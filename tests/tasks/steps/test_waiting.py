"""Waiting for a job: what is told meanwhile, when it is too long, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import (
    ConnectionFailed,
    DarkroomError,
    JobFailed,
    JobTimedOut,
    NotFound,
    RequestRefused,
    RunIncomplete,
)
from tasks.roboflow_api.models import JobLog, JobMetadata, JobStage, Severity
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import RetryPolicy, Timing
from tasks.steps.context import Run
from tasks.steps.launch import launch
from tasks.steps.wait import wait
from tasks.steps.watching import MOST_LINES, JobState, Watch
from tests.deployments.batch_server.small_engine import BAD
from tests.fake_time import FakeTime
from tests.tasks.steps.held import IMAGES, Held, held_bench

HOUR = 3600.0


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with held_bench(tmp_path, hold_after=2) as place:
        yield place


class Minutes:
    """A clock that a sleep moves by a minute; after some of them something happens."""

    def __init__(self, happens: dict[int, Callable[[], object]]) -> None:
        self.now = 0.0
        self.sleeps = 0
        self._happens = happens

    def sleep(self, _seconds: float) -> None:
        self.sleeps += 1
        self.now += 60.0
        self._happens.get(self.sleeps, lambda: None)()

    @property
    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep)


def watched(run: Run, minutes: Minutes) -> tuple[Run, list[str]]:
    told: list[str] = []
    return replace(run, tell=told.append, timing=minutes.timing), told


def with_processing(run: Run, calls: ProcessingApi) -> Run:
    """The run on a platform whose calls of batch processing are these."""
    return replace(run, target=replace(run.target, platform=replace(run.platform, processing=calls)))


def finish(held: Held, run: Run) -> Callable[[], object]:
    """Lets the engine go on, and sees the job's end before the next look does."""

    def done() -> None:
        held.engine.go_on()
        held.server.finished(run.remote_id)

    return done


def test_job_that_stands_still_is_told_of_less_and_less_often(held: Held) -> None:
    run = held.ingested(wait={"stall_minutes": 10})
    launch(run)
    held.standing(run, 2)
    waiting, told = watched(run, Minutes({100: finish(held, run)}))
    wait(waiting)
    assert [text.partition(" minutes")[0].rpartition(" ")[2] for text in told] == ["10", "20", "40", "80"]
    assert all("has not moved" in text and "(stage processing, " in text for text in told)


def test_stages_and_a_good_deal_of_progress_are_said(held: Held) -> None:
    run = held.ingested()
    said: list[str] = []
    watch = Watch(replace(run, say=said.append))
    for stage, percent in (("scheduled", 0), ("processing", 0), ("processing", 19), ("processing", 45), ("export", 45)):
        watch.report(JobState(stage, percent, terminal=False, error=False))
    watch.report(JobState("export", 100, terminal=True, error=False))
    assert [text.partition("stage ")[2] for text in said] == [
        "scheduled, 0 %",
        "processing, 0 %",
        "processing, 45 %",
        "export, 45 %",
    ]


def test_job_that_ends_while_nobody_looks_counts_as_ended_whatever_the_deadline(held: Held) -> None:
    run = held.ingested(wait={"deadline_hours": 0.5})
    launch(run)
    held.standing(run, 2)
    # The thirtieth sleep ends at the deadline, and the job ends within it.
    waiting, _ = watched(run, Minutes({30: finish(held, run)}))
    assert wait(waiting).tasks > 0


def test_job_beyond_its_deadline_goes_on_and_can_be_waited_for_again(held: Held) -> None:
    run = held.ingested(wait={"deadline_hours": 0.5})
    launch(run)
    held.standing(run, 2)
    waiting, _ = watched(run, Minutes({}))
    with pytest.raises(JobTimedOut, match=rf"after 0.5 h, and goes on.*darkroom abort {run.folder.key}"):
        wait(waiting)
    assert not held.server.job(run.remote_id)["isTerminal"]
    held.engine.go_on()
    assert wait(run).tasks > 0


def test_what_a_job_logs_is_told_once_as_it_comes(held: Held) -> None:
    run = held.ingested()
    launch(run)
    held.standing(run, 2)
    waiting, told = watched(run, Minutes({}))
    look = Watch(with_processing(waiting, Chatty(run)))
    look()
    assert told == [f'job {run.remote_id}: warning: odd: {{"what": "thing 0"}}']
    waiting.timing.sleep(60)
    look()
    assert told[1:] == [f'job {run.remote_id}: error: bad: {{"what": "thing 1"}}']


class Chatty(ProcessingApi):
    """Logs one more thing at each look."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.platform.staging.transport, run.platform.workspace)
        self.looks = 0

    def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
        self.looks += 1
        return super().job(job_id, policy)

    def logs(self, job_id: str, severity: Severity | None = None) -> Iterator[JobLog]:
        model = next(iter(super().logs(job_id)))
        kinds: list[tuple[Severity, str]] = [("warning", "odd"), ("error", "bad")]
        for number in range(self.looks):
            level, kind = kinds[number % 2]
            if level == severity:
                yield model.model_copy(
                    update={"severity": level, "log_type": kind, "payload": {"what": f"thing {number}"}}
                )


def test_job_that_logs_a_great_deal_is_told_of_up_to_a_point(held: Held) -> None:
    run = held.ingested()
    launch(run)
    held.standing(run, 2)
    minutes = Minutes({})
    waiting, told = watched(run, minutes)
    chatty = Chatty(run)
    chatty.looks = 10 * MOST_LINES
    watch = Watch(with_processing(waiting, chatty))
    for _ in range(3):
        watch()
        waiting.timing.sleep(60)
    assert len(told) == MOST_LINES + 1
    assert told[-1].endswith("see job.parquet when it has ended")


class Mute(ProcessingApi):
    """Gives neither logs nor stages while the job runs."""

    def __init__(self, run: Run, error: DarkroomError) -> None:
        super().__init__(run.platform.staging.transport, run.platform.workspace)
        self._error = error

    def logs(self, job_id: str, severity: Severity | None = None) -> Iterator[JobLog]:
        self._refuse(job_id)
        return super().logs(job_id, severity)

    def stages(self, job_id: str) -> list[JobStage]:
        self._refuse(job_id)
        return super().stages(job_id)

    def _refuse(self, job_id: str) -> None:
        if not self.job(job_id).is_terminal:
            raise self._error


@pytest.mark.parametrize("error", [ConnectionFailed("not today"), RequestRefused("not for you", status=403)])
def test_wait_goes_on_without_logs_and_stages(held: Held, error: DarkroomError) -> None:
    run = held.ingested()
    launch(run)
    held.standing(run, 2)
    mute = Mute(run, error)
    waiting, _ = watched(with_processing(run, mute), Minutes({3: finish(held, run)}))
    assert wait(waiting).failures == 0


def test_failed_job_is_told_with_its_most_common_reasons(tmp_path: Path) -> None:
    with held_bench(tmp_path, hold_after=None) as held:
        run = held.ingested(images=IMAGES, job={"max_image_failure_rate": 0.0}, parameters={})
        held.server.upload(run.remote_id, "bad.jpg", BAD)
        launch(run)
        with pytest.raises(JobFailed, match=r"failed \(\d+ of 13 tasks were done\): .*cannot be decoded \(1x\)"):
            wait(run)
        assert run.folder.job.exists()


class Forgetful(ProcessingApi):
    """Does not show the job for some looks."""

    def __init__(self, run: Run, looks: int) -> None:
        super().__init__(run.platform.staging.transport, run.platform.workspace)
        self._looks = looks

    def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
        self._looks -= 1
        if self._looks >= 0:
            raise NotFound("no such job")
        return super().job(job_id, policy)


def test_job_that_is_not_shown_for_a_moment_is_not_gone(held: Held) -> None:
    run = held.ingested()
    launch(run)
    held.engine.go_on()
    held.server.finished(run.remote_id)
    time = FakeTime()
    assert wait(replace(with_processing(run, Forgetful(run, 5)), timing=time.timing())).tasks > 0
    assert time.seconds <= run.platform.settle


def test_job_that_stays_away_is_gone(held: Held) -> None:
    run = held.ingested()
    launch(run)
    with pytest.raises(RunIncomplete, match="has no job"):
        wait(replace(with_processing(run, Forgetful(run, 100)), timing=FakeTime().timing()))
