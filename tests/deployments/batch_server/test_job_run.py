from collections import deque
from concurrent.futures import Future
from typing import Any

import pytest

from deployments.batch_server.engine.interface import ChunkResult
from deployments.batch_server.job_requests import JobLimits, limits_of
from deployments.batch_server.job_run import JobRun, Meter, over_failure_rate
from deployments.batch_server.store.execution import RunningJob
from deployments.batch_server.store.stages import TaskRecord
from tasks.roboflow_api.models import WorkflowProcessingJob
from tests.deployments.batch_server.running import job_body


class Timer:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def running(limits: JobLimits) -> RunningJob:
    body = WorkflowProcessingJob.model_validate(job_body("b"))
    return RunningJob("j", 0, body, limits, {}, "image", True, (), 0.0)


def test_meter_adds_up_all_workers_and_what_was_spent_before() -> None:
    timer = Timer()
    meter = Meter(20.0, 2.0, timer)
    meter.begin("a")
    meter.begin("b")
    timer.now += 5
    assert (meter.used, meter.is_near, meter.is_over) == (12.0, False, False)
    assert meter.end("a") == 5.0
    timer.now += 4
    assert (meter.used, meter.is_near, meter.is_over) == (16.0, True, False)
    assert meter.end("b", seconds=13.5) == 13.5
    assert (meter.used, meter.is_over) == (20.5, True)


def test_meter_counts_nothing_for_a_task_that_no_worker_began() -> None:
    meter = Meter(None, 0.0, Timer())
    assert meter.end("a") == 0.0
    assert (meter.used, meter.is_near, meter.is_over) == (0.0, False, False)


def test_run_takes_as_many_tasks_as_it_may() -> None:
    run = JobRun(running(JobLimits(2, None, None)), deque(["a", "b", "c"]), Meter(None, 0.0, Timer()))
    run.under_way["x"] = None
    assert run.may_take_more
    run.under_way["y"] = None
    assert not run.may_take_more


def test_dropped_run_lets_go_of_what_waits_for_a_worker() -> None:
    run = JobRun(running(JobLimits(None, None, None)), deque(), Meter(None, 0.0, Timer()))
    waiting: Future[ChunkResult] = Future()
    run.under_way = {"a": waiting, "b": None}
    run.drop()
    assert (run.dropped, waiting.cancelled()) == (True, True)


@pytest.mark.parametrize(("rate", "says"), [(None, None), (0.25, None), (0.2, "1 of 4 images failed"), (0.0, "over")])
def test_task_is_over_the_failure_rate_only_above_it(rate: float | None, says: str | None) -> None:
    record = TaskRecord(3, ({"image": "a.jpg", "reason": "no"},), ())
    found = over_failure_rate(running(JobLimits(None, None, rate)), record)
    assert found is None if says is None else says in str(found)


def test_limits_are_the_latest_of_each_and_the_smaller_of_tasks_and_workers() -> None:
    changes = {"maxParallelTasks": 4, "processingTimeoutSeconds": 10, "maxImageFailureRate": 0.5}
    body = WorkflowProcessingJob.model_validate(job_body("b", **changes))
    assert limits_of(body, []) == JobLimits(4, 10, 0.5)
    workers = {"computeConfiguration": {"type": "compute-configuration-v2", "workersPerMachine": 3}}
    overrides: list[dict[str, Any]] = [
        workers,
        {"processingTimeoutSeconds": 2.5},
        {"maxParallelTasks": 8, "maxImageFailureRate": 0.0},
    ]
    assert limits_of(body, overrides) == JobLimits(3, 2.5, 0.0)
    assert limits_of(WorkflowProcessingJob.model_validate(job_body("b")), []) == JobLimits(None, None, None)
