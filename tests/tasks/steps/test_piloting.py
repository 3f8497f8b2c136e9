"""Pilots on a real server: which files, as which run, found again, and what they measure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput
from tasks.core.job_options import WaitOptions
from tasks.core.pilot import PilotOptions
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, read_lock
from tasks.media.manifest import read_manifest, write_manifest
from tasks.roboflow_api.models import JobMetadata, JobStage, TaskStatus
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.sources.base import ReferenceSource, Source
from tasks.sources.roboql import RoboqlSource
from tasks.steps.context import Run, Target
from tasks.steps.estimating import Measured, estimate, known_bytes, measure, piloted
from tasks.steps.piloting import check_pilot, chosen, note_asked, only, pilot_target, run_asked_by
from tasks.steps.reaping import unfinished
from tasks.steps.stage import load_staged, stage
from tasks.steps.watching import Watch
from tests.deployments.batch_server.running import ServerClient
from tests.fake_time import FakeTime
from tests.images import make_image, make_images
from tests.tasks.roboflow_api.test_models import METADATA, STAGE, TASK
from tests.tasks.steps.conftest import Bench, run_all
from tests.tasks.steps.test_only_new import Remote
from tests.tasks.steps.test_waiting import with_processing

FLOW_RUN = "6b8f4f2e-0000-4000-8000-000000000001"


def main_run(bench: Bench, files: int = 4, **changes: Any) -> Run:
    """A staged run that asks for a pilot."""
    return bench.staged(pilot={"files": files}, **changes)


def pilot_of(run: Run) -> Target | None:
    return pilot_target(run.target, load_staged(run.folder))


def staged_pilot(bench: Bench, run: Run) -> Run:
    target = pilot_of(run)
    assert target is not None
    staged = stage(target, Silent(), bench.timing)
    assert isinstance(staged, Staged)
    return bench.opened(target, RunFolder(staged.folder))


def keys(run: Run, state: str | None = None) -> list[str]:
    return [row.key for row in read_manifest(run.folder.manifest, state)]


def test_pilot_is_a_run_of_its_own_with_as_many_of_the_files(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 12)
    (bench.source / "text.jpg").write_text("no picture")
    run = main_run(bench)
    pilot = staged_pilot(bench, run)
    summary = run_all(pilot)
    assert (summary.processed, summary.rejected) == (4, 0)
    assert pilot.folder.root.parent == run.folder.root.parent
    assert set(keys(pilot)) < set(keys(run, "staged"))
    assert len(server.exported(pilot.remote_id)) == 4
    assert server.jobs("GET", f"/{run.remote_id}").status_code == 404
    assert run_all(run).processed == 12


def test_files_are_the_same_every_time_and_lie_all_over(bench: Bench) -> None:
    for folder in ("a", "b", "c"):
        make_images(bench.source / folder, 30)
    first = main_run(bench, 30)
    picked = chosen(first.folder.manifest, 30)
    assert picked == chosen(main_run(bench, 30, rerun="again").folder.manifest, 30)
    assert chosen(first.folder.manifest, 10) < picked
    assert {key[0] for key in picked} == {"a", "b", "c"}
    make_image(bench.source / "d.png", 99)
    assert len(picked & chosen(main_run(bench, 30).folder.manifest, 30)) >= 29


def test_finished_pilot_is_found_again_and_not_paid_twice(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 6)
    first = staged_pilot(bench, main_run(bench, 2))
    run_all(first)
    jobs = len(server.jobs("GET", "").json()["jobs"])
    again = staged_pilot(bench, main_run(bench, 2, expectations={"max_failures": 3}, job={"max_parallel_tasks": 2}))
    assert again.folder.key == first.folder.key
    assert again.folder.finished() == first.folder.finished()
    assert measure(again.folder) == measure(first.folder)
    assert len(server.jobs("GET", "").json()["jobs"]) == jobs


def test_pilot_asks_for_the_same_but_for_what_comes_after_the_results(bench: Bench) -> None:
    make_images(bench.source, 3)
    wishes = {
        "rerun": "tonight",
        "only_new": True,
        "transfer": "upload",
        "job": {"max_parallel_tasks": 2},
        "destination": str(bench.runs.parent / "published"),
        "datasets": {"formats": ["coco"]},
        "expectations": {"max_failures": 0},
        "comparison": {"against": "previous"},
        "wait": {"deadline_hours": 2, "on_cancel": "leave"},
    }
    run = main_run(bench, 1, **wishes)
    pilot = staged_pilot(bench, run)
    fields = {"source": str(bench.source), "workflow": "minimal", "platform": bench.url, "runs": str(bench.runs)}
    kept = {name: wishes[name] for name in ("rerun", "only_new", "transfer", "job")}
    wait = WaitOptions(mode="poll", deadline_hours=2, on_cancel="leave")
    request = RunRequest(**fields, **kept, pilot=PilotOptions(files=1), pilot_of=run.folder.key, wait=wait)
    assert pilot.target.request == request
    assert pilot.target.destination is None
    words = shlex.split(read_lock(pilot.folder)["command"])
    assert words[words.index("--pilot") + 1] == "1"
    assert {"--only-new", "tonight"} < set(words)


@pytest.mark.parametrize("files", [0, 3, 4])
def test_no_pilot_is_made_that_would_be_the_whole_run(bench: Bench, files: int) -> None:
    make_images(bench.source, 3)
    (bench.source / "text.jpg").write_text("no picture")
    assert pilot_of(main_run(bench, files)) is None
    assert pilot_of(main_run(bench, 2)) is not None


def test_run_that_was_launched_or_is_finished_has_no_pilot_any_more(bench: Bench) -> None:
    make_images(bench.source, 3)
    run = main_run(bench, 2)
    assert pilot_of(run) is not None
    run_all(run)
    assert pilot_of(main_run(bench, 2)) is None
    run.folder.summary.unlink()
    assert pilot_of(main_run(bench, 2)) is None


def test_references_stay_references() -> None:
    inner: Source = Remote(["a", "b", "c"])
    source = only(inner, frozenset({"a", "c"}))
    assert isinstance(source, ReferenceSource)
    assert list(source.presign(source.list(), 5)) == ["https://host/a?for=5", "https://host/c?for=5"]
    assert not isinstance(only(RoboqlSource("roboql:cats"), frozenset()), ReferenceSource)


def test_pilot_measures_its_job_and_its_failures(bench: Bench) -> None:
    make_images(bench.source, 18)
    run = main_run(bench, 12)
    pilot = staged_pilot(bench, run)
    sizes = known_bytes(pilot.folder.manifest)
    for key in keys(pilot)[3:5]:
        (bench.source / key).write_bytes(b"changed since it was staged")
    summary = run_all(pilot)
    measured = measure(pilot.folder)
    assert (measured.key, measured.files, measured.failed) == (pilot.folder.key, 12, 2)
    assert (summary.processed, summary.failed) == (10, 2)
    assert measured.bytes == sizes == sum(row.size or 0 for row in read_manifest(pilot.folder.manifest))
    assert measured.job_seconds > 0
    assert not measured.restarted
    reckoned = estimate(measured, 18, known_bytes(run.folder.manifest))
    assert len(reckoned.ways) == 3
    assert measured.job_seconds * 1.5 == pytest.approx(reckoned.ways["by files, start-up included"][1])


def test_size_of_files_of_which_one_is_not_known_is_not_known(tmp_path: Path) -> None:
    write_manifest(Remote(["a", "b"]), tmp_path / "manifest.parquet", Silent())
    assert known_bytes(tmp_path / "manifest.parquet") is None


def test_restart_of_a_pilots_job_is_remembered(bench: Bench) -> None:
    make_images(bench.source, 3)
    pilot = staged_pilot(bench, main_run(bench, 2))
    run_all(pilot)
    pilot.journal.confirm("launch", "restart")
    assert measure(pilot.folder).restarted


def test_run_that_ends_with_its_pilot_says_how_to_go_on(bench: Bench) -> None:
    make_images(bench.source, 5)
    run = bench.staged(pilot={"files": 2, "credits_per_machine_hour": 2.0})
    measured = Measured(key="a" * 16, files=2, failed=1, bytes=None, job_seconds=1440.0)
    outcome = piloted(run.target, load_staged(run.folder), measured, estimate(measured, 5, None, 2.0))
    assert outcome.line() == (
        f"pilot {'a' * 16} of run {run.folder.key}: 2 of 5 files, 1 failed; all take 1 h of machine time, 2 credits: "
        "add --budget max_hours=HOURS, or leave out --pilot, to go on"
    )
    assert outcome.command == run.target.request.model_copy(update={"pilot": PilotOptions()}).command()


def test_person_is_asked_for_a_run_which_nobody_else_wakes(bench: Bench) -> None:
    make_images(bench.source, 3)
    run = main_run(bench, 1)
    other = main_run(bench, 1, rerun="other")
    runs = run.target.runs
    assert run_asked_by(runs, FLOW_RUN) is None
    assert note_asked(run.journal, FLOW_RUN)
    assert note_asked(run.journal, "somebody else's")
    assert not note_asked(run.journal, FLOW_RUN)
    assert run_asked_by(runs, FLOW_RUN) == run.folder.key
    assert list(unfinished(runs)) == []  # so the flow reap-runs does not answer in the person's place
    with other.folder.journal.open("a") as journal:
        journal.write("junk\n")
    assert run_asked_by(runs, FLOW_RUN) == run.folder.key
    run_all(run)
    assert run_asked_by(runs, FLOW_RUN) is None


@pytest.mark.parametrize(
    ("options", "source", "said"),
    [
        ({"files": 3, "max_credits": 5}, "photos", "add --budget credits_per_machine_hour=RATE"),
        ({"max_hours": 5}, "photos", "add --pilot N"),
        ({"credits_per_machine_hour": 5}, "photos", "add --pilot N"),
        ({"files": 3}, "roboql:cats", "leave out --pilot"),
    ],
)
def test_pilot_that_cannot_be_is_refused(options: dict[str, Any], source: str, said: str) -> None:
    opened: Source = RoboqlSource(source) if source.startswith("roboql:") else Remote(["a"])
    with pytest.raises(BadInput, match=said):
        check_pilot(PilotOptions(**options), opened)
    check_pilot(PilotOptions(), opened)


def test_pilot_that_cannot_be_is_told_before_any_work(bench: Bench) -> None:
    make_images(bench.source, 3)
    with pytest.raises(BadInput, match="add --pilot N"):
        bench.target(pilot={"max_hours": 2})
    assert not bench.runs.exists()


NOTHING, WAITING, WORKING, DONE = None, (None, None), (None, 0.0), (1.0, 0.5)


class Shown(ProcessingApi):
    """A job as it is seen in one look after another: no stage yet, or the progress of its two tasks."""

    def __init__(self, run: Run, looks: list[tuple[float | None, ...] | None]) -> None:
        super().__init__(run.platform.staging.transport, run.platform.workspace)
        self._looks = looks
        self._now: tuple[float | None, ...] | None = None

    def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
        self._now = self._looks.pop(0)
        stage = None if self._now is None else "processing"
        return JobMetadata.model_validate(METADATA | {"currentStage": stage, "isTerminal": not self._looks})

    def stages(self, job_id: str) -> list[JobStage]:
        return [JobStage.model_validate(STAGE | {"tasksNumber": 2})]

    def tasks(self, job_id: str, stage_id: str) -> Iterator[TaskStatus]:
        assert self._now is not None
        return (TaskStatus.model_validate(TASK | {"progress": progress}) for progress in self._now)


@pytest.mark.parametrize(
    ("looks", "start_up"),
    [
        ([NOTHING, WAITING, WAITING, WORKING, DONE, DONE], (20.0, 30.0)),
        ([WAITING, DONE, WAITING, DONE], (0.0, 10.0)),
        ([WORKING, WAITING, DONE], (0.0, 0.0)),
        ([WAITING, WAITING, DONE], (10.0, 10.0)),
        ([DONE], (0.0, 0.0)),
    ],
)
def test_start_up_lies_between_two_looks(
    bench: Bench, looks: list[tuple[float | None, ...] | None], start_up: tuple[float, float]
) -> None:
    make_images(bench.source, 1)
    time = FakeTime()
    run = bench.staged()
    shown = with_processing(run, Shown(run, list(looks)))
    watch = Watch(replace(shown, timing=time.timing()))
    for _ in looks:
        watch()
        time.sleep(10.0)
    assert watch.start_up == start_up
