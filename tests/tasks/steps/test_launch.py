"""One job a run, whatever the platform says; its options arrive, and one that failed goes on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deployments.batch_server.engine.interface import EngineFailure
from deployments.batch_server.plan import Feature
from tasks.core.errors import Conflict, ConnectionFailed, JobAborted, JobFailed, RequestRefused
from tasks.roboflow_api.models import JobMetadata, RestartParameters, TrtCompilationJob, WorkflowProcessingJob
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.steps.context import Run
from tasks.steps.launch import describe_job, launch
from tasks.steps.wait import wait
from tests.tasks.steps.conftest import run_all
from tests.tasks.steps.held import IMAGES, Held, held_bench

EVERYTHING: dict[str, Any] = {
    "options": {
        "keep_images": True,
        "image_input": "image",
        "aggregation_format": "csv",
        "inference_backend": "inference-models",
    },
    "job": {
        "machine_type": "cpu",
        "workers_per_machine": 2,
        "max_runtime_seconds": 600,
        "max_parallel_tasks": 1,
        "max_image_failure_rate": 0.5,
    },
}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with held_bench(tmp_path, hold_after=None) as place:
        yield place


def listening(run: Run) -> tuple[Run, list[str]]:
    """The run, and what it tells the person who started it."""
    told: list[str] = []
    return replace(run, tell=told.append), told


class Deaf(ProcessingApi):
    """Restarts the job, and loses the answer."""

    restarts = 0

    def restart(self, job_id: str, overrides: RestartParameters | None = None) -> None:
        self.restarts += 1
        super().restart(job_id, overrides)
        raise ConnectionFailed("the answer was lost")


class Unheard(Deaf):
    """Loses the first request of a restart, and hears the second."""

    def restart(self, job_id: str, overrides: RestartParameters | None = None) -> None:
        self.restarts += 1
        if self.restarts == 1:
            raise ConnectionFailed("nobody has heard it")
        ProcessingApi.restart(self, job_id, overrides)


def with_processing(run: Run, kind: type[Deaf]) -> tuple[Run, Deaf]:
    """The run on a platform whose calls of batch processing are of that kind."""
    platform = run.platform
    calls = kind(platform.staging.transport, platform.workspace)
    return replace(run, target=replace(run.target, platform=replace(platform, processing=calls))), calls


def aborted(held: Held, tasks: int = 1, **changes: object) -> Run:
    """A run whose job somebody has stopped after some tasks; the engine is free again."""
    held.engine.hold_after(tasks)
    run = held.ingested(IMAGES, **changes)
    launch(run)
    held.standing(run, tasks)
    held.server.jobs("POST", f"/{run.remote_id}/abort")
    held.engine.go_on()
    return run


def test_every_option_arrives_and_takes_effect(held: Held) -> None:
    run = held.ingested(**EVERYTHING)
    summary = run_all(run)
    definition = held.server.job(run.remote_id)["jobDefinition"]
    assert definition["computeConfiguration"] == {
        "type": "compute-configuration-v2",
        "machineType": "cpu",
        "workersPerMachine": 2,
    }
    limits = {
        name: definition[name] for name in ("processingTimeoutSeconds", "maxParallelTasks", "maxImageFailureRate")
    }
    assert limits == {"processingTimeoutSeconds": 600, "maxParallelTasks": 1, "maxImageFailureRate": 0.5}
    assert definition["inferenceBackend"] == "inference-models"
    assert definition["processingSpecification"]["imageInputName"] == "image"
    assert held.engine.most_at_once == 1
    (table,) = (run.folder.export / "aggregated-results").glob("*.csv")
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == summary.processed == 12
    assert len(list((run.folder.export / "images-archives").rglob("copy.jpg"))) == 12
    assert pq.read_table(run.folder.results).num_rows == 12


def test_machine_time_allowed_ends_the_job_and_a_restart_with_more_finishes_it(held: Held) -> None:
    run = held.ingested(job={"max_runtime_seconds": 2})
    launch(run)
    with pytest.raises(JobFailed, match="machine time"):
        wait(run)
    again = held.bench.opened(held.bench.target(job={"max_runtime_seconds": 600}), run.folder)
    assert launch(again).restarted
    assert run_all(again).processed == IMAGES


def test_options_that_are_left_alone_are_left_out(held: Held) -> None:
    wire = describe_job(held.ingested(1)).wire()
    assert wire["computeConfiguration"] == {"type": "compute-configuration-v2"}
    assert not {"maxImageFailureRate", "maxParallelTasks", "processingTimeoutSeconds", "inferenceBackend"} & wire.keys()


def test_metadata_options_arrive_and_are_refused_with_the_servers_words(held: Held) -> None:
    run = held.ingested(1, options={"images_metadata_part": "about", "images_metadata_mapping": {"image": "id"}})
    wire = describe_job(run).wire()
    assert wire["jobInput"]["imagesMetadataPart"] == "about"
    assert wire["processingSpecification"]["imagesMetadataInputsMapping"] == {"image": "id"}
    with pytest.raises(RequestRefused, match="imagesMetadataPart"):
        launch(run)


def test_plan_that_does_not_include_an_option_is_told(tmp_path: Path) -> None:
    with held_bench(tmp_path, hold_after=None, left_out=frozenset({Feature.GPU})) as place:
        run = place.ingested(2, job={"machine_type": "gpu"})
        with pytest.raises(RequestRefused, match="refused with 402, as the workspace's plan does not include it"):
            launch(run)


def test_same_run_with_other_options_attaches_and_says_so(held: Held) -> None:
    held.engine.hold_after(0)
    run = held.ingested()
    launch(run)
    run.folder.journal.write_text("")  # as on another machine
    other = held.bench.target(job={"max_parallel_tasks": 3})
    again, told = listening(held.bench.opened(other, run.folder))
    assert launch(again).attached
    assert "another maxParallelTasks" in " ".join(told)
    held.engine.go_on()
    assert not held.server.finished(run.remote_id)["error"]


def test_job_of_the_runs_id_with_other_work_is_a_conflict(held: Held) -> None:
    run = held.ingested(2)
    held.server.started(run.remote_id, run.remote_id, specification={"workflowParameters": {"tolerance": 7}})
    with pytest.raises(Conflict, match="does something else"):
        launch(run)


def test_failed_job_is_restarted_with_the_present_options(held: Held) -> None:
    run = held.ingested(job={"max_image_failure_rate": 0.0})
    held.engine.failures += [EngineFailure("out of memory")] * 24
    launch(run)
    with pytest.raises(JobFailed, match=r"failed \(\d+ of 12 tasks were done\): .*out of memory.*run the same command"):
        wait(run)
    held.engine.failures.clear()
    target = held.bench.target(job={"max_image_failure_rate": 1.0, "max_parallel_tasks": 2})
    again, told = listening(held.bench.opened(target, run.folder))
    assert again.folder.key == run.folder.key
    assert launch(again).restarted
    assert "restarted" in told[0]
    assert run_all(again).processed == 12
    (override,) = held.server.job(run.remote_id)["restartParametersOverride"]
    assert (override["maxImageFailureRate"], override["maxParallelTasks"]) == (1.0, 2)


def test_aborted_job_is_told_as_such_and_goes_on_with_what_is_left(held: Held) -> None:
    run = aborted(held)
    with pytest.raises(
        JobAborted, match=r"was aborted \(1 of 12 tasks were done\): aborted on request; run the same command"
    ):
        wait(run)
    assert launch(run).restarted
    assert run_all(run).processed == 12
    assert held.engine.begun.count(f"{run.remote_id}/chunk-00000") == 1


@pytest.mark.parametrize(("kind", "calls"), [(Deaf, 1), (Unheard, 2)])
def test_restart_whose_answer_is_lost_happens_once(held: Held, kind: type[Deaf], calls: int) -> None:
    run, api = with_processing(aborted(held, job={"max_parallel_tasks": 2}), kind)
    assert launch(run).restarted
    assert api.restarts == calls
    assert len(held.server.job(run.remote_id)["restartParametersOverride"]) == 1
    assert run_all(run).processed == 12


def test_job_that_fails_while_it_is_launched_is_not_restarted_unasked(held: Held) -> None:
    run = held.ingested(job={"max_image_failure_rate": 0.0})
    held.engine.failures += [EngineFailure("out of memory")] * 24

    class Slow(ProcessingApi):
        """Answers when the job has failed already."""

        def create(self, job_id: str, job: WorkflowProcessingJob | TrtCompilationJob, name: str) -> None:
            super().create(job_id, job, name)
            held.server.finished(job_id)

    slow = Slow(run.platform.staging.transport, run.platform.workspace)
    failing = replace(run, target=replace(run.target, platform=replace(run.platform, processing=slow)))
    assert not launch(failing).restarted
    assert held.server.job(run.remote_id)["restartParametersOverride"] == []


def test_job_that_has_failed_before_anybody_heard_of_it_is_not_restarted_unasked(held: Held) -> None:
    run = held.ingested()
    held.engine.failures += [EngineFailure("out of memory")] * 24

    class Mumbling(ProcessingApi):
        """Starts the job, and its answers get lost until the job has failed."""

        def create(self, job_id: str, job: WorkflowProcessingJob | TrtCompilationJob, name: str) -> None:
            super().create(job_id, job, name)
            held.server.finished(job_id)
            raise ConnectionFailed("the answer was lost")

    mumbling = Mumbling(run.platform.staging.transport, run.platform.workspace)
    trying = replace(run, target=replace(run.target, platform=replace(run.platform, processing=mumbling)))
    with pytest.raises(ConnectionFailed):
        launch(trying)
    assert not launch(trying).restarted  # the task's second try
    with pytest.raises(JobFailed):
        wait(trying)
    held.engine.failures.clear()
    assert launch(trying).restarted  # the next command's
    assert run_all(trying).processed == IMAGES


def test_flow_run_that_is_resumed_after_a_failed_job_does_not_restart_it(held: Held) -> None:
    run = replace(aborted(held), resumed=True)
    assert not launch(run).restarted
    with pytest.raises(JobAborted):
        wait(run)


def test_restart_that_was_heard_by_a_killed_process_is_not_made_again_when_the_job_has_failed_since(held: Held) -> None:
    run = aborted(held)
    ended = held.server.job(run.remote_id)["lastUpdate"]
    run.journal.intend("launch", "restart", ended=datetime.fromisoformat(ended).isoformat())
    held.engine.failures += [EngineFailure("out of memory")] * 24
    held.server.restarted(run.remote_id, maxParallelTasks=2)
    assert held.server.finished(run.remote_id)["error"]
    assert not launch(run).restarted
    with pytest.raises(JobFailed):
        wait(run)
    held.engine.failures.clear()
    assert launch(run).restarted
    assert run_all(run).processed == IMAGES


def test_job_that_runs_or_has_ended_well_is_not_restarted(held: Held) -> None:
    run = held.ingested()
    launch(run)
    assert not launch(run).restarted
    wait(run)
    looked: list[str] = []

    class Watched(Deaf):
        def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
            looked.append(job_id)
            return super().job(job_id, policy)

    finished, api = with_processing(run, Watched)
    assert not launch(finished).restarted
    assert (api.restarts, looked) == (0, [])
    assert len([log for log in held.server.logs(run.remote_id) if log["logType"] == "job-restarted"]) == 0
