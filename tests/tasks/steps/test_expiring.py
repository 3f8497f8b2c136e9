"""Which runs' results are to be fetched before the platform forgets them, on a real platform."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.core.settings import Settings
from tasks.steps.context import Run
from tasks.steps.ended import open_ended
from tasks.steps.expiring import Unfetched, find_unfetched
from tasks.steps.export import export
from tasks.steps.launch import launch
from tasks.steps.summarize import records_of, summarize
from tasks.steps.wait import wait
from tests.deployments.batch_server.running import KEY
from tests.tasks.steps.held import Held, held_bench

DAYS = timedelta(days=7)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with held_bench(tmp_path, hold_after=None) as place:
        yield place


def ended(held: Held, **changes: object) -> Run:
    """A run whose job has ended while nobody looked."""
    run = held.ingested(2, **changes)
    launch(run)
    held.server.finished(run.remote_id)
    return run


def looked(held: Held, run: Run, within: timedelta = 2 * DAYS) -> tuple[list[Unfetched], list[str], list[str]]:
    told: list[str] = []
    found, failed = find_unfetched(run.target.runs, settings(held), datetime.now(UTC) + within, told.append)
    return found, failed, told


def settings(held: Held) -> Settings:
    return Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY), "DARKROOM_HOME": held.bench.runs / ".home"})


def test_run_whose_job_has_ended_is_found_with_the_end_of_its_data(held: Held) -> None:
    run = ended(held)
    ((found,), failed, told) = looked(held, run)
    assert (found.key, found.request, failed, told) == (run.folder.key, run.target.request, [], [])
    assert abs(found.ends - datetime.now(UTC) - DAYS) < timedelta(minutes=5)


def test_run_with_time_left_is_left_to_whoever_may_finish_it(held: Held) -> None:
    assert looked(held, ended(held), within=DAYS - timedelta(hours=1))[0] == []


def test_run_that_a_process_holds_is_left_to_it(held: Held) -> None:
    run = ended(held)
    with run.folder.held(lambda: None):
        assert looked(held, run)[0] == []


def test_pilot_is_left(held: Held) -> None:
    run = ended(held)
    lock = run.folder.lock_file
    lock.write_text(lock.read_text().replace('"pilot_of": ""', f'"pilot_of": "{"f" * 16}"'))
    assert looked(held, run)[0] == []


def test_run_whose_results_are_here_is_left(held: Held) -> None:
    run = ended(held)
    export(run, wait(run))
    assert looked(held, run)[0] == []


def test_job_that_is_not_there_or_has_failed_has_nothing_to_fetch(held: Held) -> None:
    run = held.ingested(2)
    assert looked(held, run)[0] == []
    failed = ended(held, parameters={"color": "impossible"})
    assert held.server.job(failed.remote_id)["error"] is True
    assert looked(held, failed)[0] == []


def test_platform_that_is_away_is_told_and_hides_no_other(held: Held) -> None:
    run = ended(held)
    lock = run.folder.lock_file
    lock.write_text(lock.read_text().replace(held.server.url, "http://127.0.0.1:9"))
    found, failed, told = looked(held, run)
    assert (found, failed) == ([], [run.folder.key])
    assert told[0].startswith(f"run {run.folder.key} could not be looked at: http://127.0.0.1:9 does not answer")


def test_what_the_platform_has_forgotten_is_no_failure(held: Held, tmp_path: Path) -> None:
    run = ended(held)
    assert len(looked(held, run)[0]) == 1
    with closing(sqlite3.connect(tmp_path / "held-server" / "server.sqlite3")) as database:
        database.execute("DELETE FROM batches")
        database.commit()
    assert looked(held, run) == ([], [], [])


@pytest.mark.parametrize("source", ["folder", "env:NOT_SET_ANY_MORE"])
def test_run_is_finished_without_its_source_and_its_workflow(held: Held, source: str) -> None:
    run = ended(held)
    request = run.target.request.model_copy(update={"workflow": "gone"})
    if source == "folder":
        shutil.rmtree(held.bench.source)
    else:
        request = request.model_copy(update={"source": source})
    with open_ended(request, run.folder.key, run.target.runs, settings(held)) as (target, staged):
        assert (target.workflow.id, target.workflow.digest) == ("minimal", run.target.workflow.digest)
        assert staged.to_send == 2
        again = held.bench.opened(target, run.folder)
        export(again, wait(again))
        summary = summarize(again, records_of(again), 0.0)
    assert (summary.processed, summary.workflow_digest) == (2, run.target.workflow.digest)
    assert run.folder.report.exists()
