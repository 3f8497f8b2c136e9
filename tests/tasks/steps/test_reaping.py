"""Looking after unfinished runs, on a real platform, with flow runs that a script speaks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State, StateType
from pydantic import SecretStr

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.core.records import Reaped
from tasks.core.run_folder import read_lock
from tasks.core.settings import Settings
from tasks.flow_runs import state_of
from tasks.steps.context import Run
from tasks.steps.flow_runs import (
    forget_suspension,
    is_own,
    note_owner,
    note_stopped,
    note_suspension,
    run_slept_on,
)
from tasks.steps.launch import launch
from tasks.steps.mirror import Mirror
from tasks.steps.reaping import (
    FlowState,
    Outcome,
    Platforms,
    act_on_claim,
    reap,
    stop_lost,
    unfinished,
    wake,
)
from tasks.steps.runs import Runs
from tasks.steps.stage import staged_before
from tasks.transfer.places import LocalPlace
from tests.deployments.batch_server.running import KEY
from tests.tasks.steps.conftest import run_all
from tests.tasks.steps.held import Held, held_bench

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
FLOW_RUN = "6b8f4f2e-0000-4000-8000-000000000001"


@dataclass
class Script:
    """Flow runs in given states; those that are resumed are noted."""

    states: dict[str, FlowState] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)

    def state(self, flow_run: str) -> FlowState:
        if flow_run not in self.states:
            raise ConnectionFailed("Prefect's server does not answer")
        return self.states[flow_run]

    def resume(self, flow_run: str) -> bool:
        if self.states.get(flow_run) is not FlowState.SUSPENDED:
            return False
        self.resumed.append(flow_run)
        self.states[flow_run] = FlowState.RUNNING
        return True


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with held_bench(tmp_path, hold_after=1) as place:
        yield place


def owned(held: Held, **wait: object) -> Run:
    """A run whose job stands still, and that a flow run works on."""
    run = held.ingested(2, wait=wait)
    note_owner(run, FLOW_RUN)
    launch(run)
    held.standing(run, 1)
    return run


def settings(held: Held) -> Settings:
    return Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY), "DARKROOM_HOME": held.bench.runs / ".home"})


def reaped(held: Held, run: Run, script: Script, now: datetime = NOW) -> tuple[Reaped, list[str]]:
    told: list[str] = []
    return reap(run.target.runs, settings(held), script, told.append, now), told


def is_running(held: Held, run: Run) -> bool:
    return not held.server.job(run.remote_id)["isTerminal"]


def test_job_of_a_stopped_flow_run_is_aborted_once(held: Held) -> None:
    run = owned(held)
    script = Script({FLOW_RUN: FlowState.STOPPED})
    first, told = reaped(held, run, script)
    assert (first.looked, first.aborted) == (1, (run.folder.key,))
    assert told == [f"job {run.remote_id} aborted: its flow run was cancelled or crashed"]
    assert held.server.job(run.remote_id)["lastNotification"] == "aborted on request"
    assert reaped(held, run, script) == (Reaped(looked=1), [])


@pytest.mark.parametrize("state", [FlowState.WAITING, FlowState.SUSPENDED, FlowState.OVER, FlowState.UNKNOWN])
def test_job_of_any_other_flow_run_goes_on(held: Held, state: FlowState) -> None:
    run = owned(held)
    assert reaped(held, run, Script({FLOW_RUN: state}))[0].aborted == ()
    assert is_running(held, run)


def test_job_that_is_to_be_left_is_left(held: Held) -> None:
    run = owned(held, on_cancel="leave")
    assert reaped(held, run, Script({FLOW_RUN: FlowState.STOPPED}))[0].aborted == ()
    assert is_running(held, run)


def test_job_whose_flow_run_has_seen_to_it_is_not_looked_at_again(held: Held) -> None:
    run = owned(held)
    note_stopped(run.journal)
    assert reaped(held, run, Script({FLOW_RUN: FlowState.STOPPED}))[0].aborted == ()
    assert is_running(held, run)


def test_job_of_a_running_flow_run_that_holds_its_run_goes_on(held: Held) -> None:
    run = owned(held)
    script = Script({FLOW_RUN: FlowState.RUNNING})
    with run.folder.held(lambda: None):
        assert reaped(held, run, script)[0].aborted == ()
        script.states[FLOW_RUN] = FlowState.STOPPED
        assert reaped(held, run, script)[0].aborted == ()
    assert is_running(held, run)


def test_job_of_a_flow_run_whose_process_is_gone_is_aborted_though_prefect_believes_in_it(held: Held) -> None:
    run = owned(held)
    assert reaped(held, run, Script({FLOW_RUN: FlowState.RUNNING}))[0].aborted == (run.folder.key,)
    assert not is_running(held, run)


def test_job_of_a_flow_run_that_is_just_waking_up_goes_on(held: Held) -> None:
    run = owned(held, mode="suspend")
    note_suspension(run, FLOW_RUN, "wait", 2, NOW)
    assert reaped(held, run, Script({FLOW_RUN: FlowState.RUNNING}))[0].aborted == ()
    assert is_running(held, run)


def test_every_flow_run_that_sleeps_on_a_run_is_resumed_and_counts_its_own_deadline(held: Held) -> None:
    run, other = owned(held, mode="suspend"), FLOW_RUN[:-1] + "2"
    note_suspension(run, FLOW_RUN, "wait", 2, NOW)
    note_owner(run, other)
    assert note_suspension(run, other, "wait", 2, NOW + timedelta(hours=3)) == 2 * 3600
    script = Script(dict.fromkeys((FLOW_RUN, other), FlowState.SUSPENDED))
    assert run_slept_on(run.target.runs, FLOW_RUN) == run_slept_on(run.target.runs, other) == run.folder.key
    held.engine.go_on()
    held.server.finished(run.remote_id)
    assert reaped(held, run, script)[0].resumed == (run.folder.key,) * 2
    forget_suspension(run, other)
    assert run_slept_on(run.target.runs, other) is None
    run_all(run)
    assert run_slept_on(run.target.runs, FLOW_RUN) == run.folder.key  # it finds the run finished, and stages nothing


def test_run_that_another_flow_run_took_up_is_not_stopped_for_the_first(held: Held) -> None:
    run = owned(held)
    other = FLOW_RUN[:-1] + "2"
    note_owner(run, other)
    script = Script({FLOW_RUN: FlowState.STOPPED, other: FlowState.RUNNING})
    with run.folder.held(lambda: None):
        assert reaped(held, run, script)[0].aborted == ()
    assert is_running(held, run)


def test_suspended_flow_run_is_resumed_when_its_job_has_ended_and_not_before(held: Held) -> None:
    run = owned(held, mode="suspend")
    script = Script({FLOW_RUN: FlowState.SUSPENDED})
    note_suspension(run, FLOW_RUN, "wait", 2, NOW)
    assert reaped(held, run, script)[0].resumed == ()
    held.engine.go_on()
    held.server.finished(run.remote_id)
    assert reaped(held, run, script)[0].resumed == (run.folder.key,)
    assert reaped(held, run, script)[0].resumed == ()
    assert script.resumed == [FLOW_RUN]


def test_suspended_flow_run_is_resumed_at_its_deadline_which_counts_from_the_first_suspension(held: Held) -> None:
    run = owned(held, mode="suspend", deadline_hours=2)
    assert note_suspension(run, FLOW_RUN, "wait", 2, NOW) == 2 * 3600
    assert note_suspension(run, FLOW_RUN, "wait", 2, NOW + timedelta(hours=1.5)) == 0.5 * 3600
    script = Script({FLOW_RUN: FlowState.SUSPENDED})
    assert reaped(held, run, script, NOW + timedelta(hours=1.9))[0].resumed == ()
    assert reaped(held, run, script, NOW + timedelta(hours=2))[0].resumed == (run.folder.key,)


def test_run_that_cannot_be_asked_about_is_told_and_the_others_are_looked_after(held: Held) -> None:
    run = owned(held)
    lost, told = reaped(held, run, Script())
    assert lost.failed == (run.folder.key,)
    assert told == [f"run {run.folder.key} could not be looked after: Prefect's server does not answer"]


def test_finished_and_damaged_runs_are_left_alone(held: Held) -> None:
    held.engine.go_on()
    run = held.ingested(2)
    note_owner(run, FLOW_RUN)
    assert [found.folder.key for found in unfinished(run.target.runs)] == [run.folder.key]
    run_all(run)
    assert list(unfinished(run.target.runs)) == []
    other = held.bench.staged(rerun="other")
    assert list(unfinished(run.target.runs)) == []
    note_owner(other, FLOW_RUN)
    with other.folder.journal.open("a") as journal:
        journal.write("half a li")
    assert len(list(unfinished(run.target.runs))) == 1
    with other.folder.journal.open("a") as journal:
        journal.write("ne\n")
    assert list(unfinished(run.target.runs)) == []


def test_claim_is_acted_on_when_the_platform_says_so_too(held: Held) -> None:
    run = owned(held, mode="suspend")
    script = Script({FLOW_RUN: FlowState.RUNNING})

    def claimed() -> Outcome:
        (found,) = unfinished(run.target.runs, run.folder.key)
        return act_on_claim(found, settings(held), script)

    assert claimed() is Outcome.DENIED
    held.engine.go_on()
    held.server.finished(run.remote_id)
    assert claimed() is Outcome.EARLY
    note_suspension(run, FLOW_RUN, "wait", 2, NOW)
    assert claimed() is Outcome.EARLY
    script.states[FLOW_RUN] = FlowState.SUSPENDED
    assert claimed() is Outcome.RESUMED
    script.states[FLOW_RUN] = FlowState.OVER
    assert claimed() is Outcome.NOTHING
    assert script.resumed == [FLOW_RUN]


def test_claim_about_a_run_that_nobody_waits_for_does_nothing(held: Held) -> None:
    run = owned(held)
    held.engine.go_on()
    held.server.finished(run.remote_id)
    script = Script({FLOW_RUN: FlowState.RUNNING})
    (found,) = unfinished(run.target.runs, run.folder.key)
    assert act_on_claim(found, settings(held), script) is Outcome.NOTHING
    assert list(unfinished(run.target.runs, "0" * 16)) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (StateType.PENDING, FlowState.WAITING),
        (StateType.SCHEDULED, FlowState.WAITING),
        (StateType.RUNNING, FlowState.RUNNING),
        (StateType.PAUSED, FlowState.SUSPENDED),
        (StateType.CANCELLING, FlowState.STOPPED),
        (StateType.CANCELLED, FlowState.STOPPED),
        (StateType.CRASHED, FlowState.STOPPED),
        (StateType.FAILED, FlowState.OVER),
        (StateType.COMPLETED, FlowState.OVER),
    ],
)
def test_states_of_prefect_are_told_apart(kind: StateType, expected: FlowState) -> None:
    assert state_of(State(type=kind)) is expected
    assert state_of(None) is FlowState.WAITING


def test_notifications_url_of_a_suspended_run_is_the_receivers_and_fixed(held: Held) -> None:
    run = held.ingested(1, wait={"mode": "suspend"}, job={"notifications_url": "https://example.com/mine"})
    assert (run.webhook_url, run.notifications_url) == ("", "https://example.com/mine")
    heard = replace(run, target=replace(run.target, webhook=lambda key: f"https://hooks/{key}/token"))
    assert heard.notifications_url == f"https://hooks/{run.folder.key}/token"
    polling = held.bench.staged(rerun="polls", job={"notifications_url": "https://example.com/mine"})
    assert polling.notifications_url == "https://example.com/mine"


def test_run_of_a_resumed_flow_run_is_the_one_that_was_staged_unless_its_workflow_has_changed(held: Held) -> None:
    run = held.ingested(2)
    (held.bench.source / "later.png").write_bytes(b"not looked at")
    target, staged = staged_before(held.bench.target(), run.folder.key)
    assert (staged.key, staged.files) == (run.folder.key, 2)
    assert target.asked == datetime.fromisoformat(read_lock(run.folder)["started"])
    lock = read_lock(run.folder)
    lock["identity"]["workflow_digest"] = "another"
    run.folder.lock_file.write_text(json.dumps(lock))
    with pytest.raises(BadInput, match=r"workflow minimal has changed since run .* was begun"):
        staged_before(run.target, run.folder.key)


@pytest.fixture
def bucket(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "bucket")


def elsewhere(bucket: LocalPlace, machine: Path) -> Runs:
    """The runs in a bucket as a machine sees them that has worked on none."""
    return Runs(machine, bucket, Mirror(bucket))


def test_job_of_a_stopped_flow_run_is_aborted_from_another_machine(
    held: Held, bucket: LocalPlace, tmp_path: Path
) -> None:
    run, runs = owned(held), elsewhere(bucket, tmp_path / "other")
    Mirror(bucket).push(run.folder)
    told: list[str] = []
    running = Script({FLOW_RUN: FlowState.RUNNING})
    assert reap(runs, settings(held), running, told.append, NOW).aborted == ()  # whether it lives, only Prefect knows
    assert is_running(held, run)
    stopped = Script({FLOW_RUN: FlowState.STOPPED})
    assert reap(runs, settings(held), stopped, told.append, NOW).aborted == (run.folder.key,)
    assert not is_running(held, run)


def test_run_in_a_bucket_that_was_taken_over_meanwhile_keeps_its_job(
    held: Held, bucket: LocalPlace, tmp_path: Path
) -> None:
    run, runs, other = owned(held), elsewhere(bucket, tmp_path / "other"), FLOW_RUN[:-1] + "2"
    mirrored = replace(run, target=replace(run.target, runs=replace(runs, folder=run.target.runs.folder)))
    Mirror(bucket).push(run.folder)
    assert is_own(mirrored, FLOW_RUN)
    with closing(unfinished(runs)) as looking:
        found = next(looking)
        note_owner(run, other)
        Mirror(bucket).push(run.folder)
        assert not stop_lost(runs, found, lambda _name: run.platform)
    assert is_running(held, run)
    assert not is_own(mirrored, FLOW_RUN)
    assert is_own(mirrored, other)


def test_claim_about_a_run_in_a_bucket_is_acted_on(held: Held, bucket: LocalPlace, tmp_path: Path) -> None:
    run, runs = owned(held, mode="suspend"), elsewhere(bucket, tmp_path / "other")
    note_suspension(run, FLOW_RUN, "wait", 2, NOW)
    Mirror(bucket).push(run.folder)
    script = Script({FLOW_RUN: FlowState.SUSPENDED})
    with closing(unfinished(runs, run.folder.key)) as looking:
        found = next(looking)
        assert act_on_claim(found, settings(held), script) is Outcome.DENIED
        held.engine.go_on()
        held.server.finished(run.remote_id)
        assert act_on_claim(found, settings(held), script) is Outcome.RESUMED
    assert run_slept_on(runs, FLOW_RUN) == run.folder.key


def test_embedded_server_that_is_down_is_not_started_to_be_asked(held: Held) -> None:
    with ExitStack() as stack:
        assert Platforms(settings(held), stack).named("embedded") is None
        platform = Platforms(settings(held), stack).named(held.server.url)
        assert platform is not None
        assert platform.workspace == "local"
    assert not (held.bench.runs / ".home").exists()


def test_finished_run_wakes_those_that_sleep_on_it_and_tells_whom_it_could_not(held: Held) -> None:
    run, other = owned(held, mode="suspend"), FLOW_RUN[:-1] + "2"

    class Deaf(Script):
        def resume(self, flow_run: str) -> bool:
            if flow_run == other:
                raise ConnectionFailed("Prefect's server does not answer")
            return super().resume(flow_run)

    for flow_run in (other, FLOW_RUN):
        note_suspension(run, flow_run, "wait", 2, NOW)
    script, told = Deaf({FLOW_RUN: FlowState.SUSPENDED}), list[str]()
    wake(run.folder, script, told.append)
    assert script.resumed == [FLOW_RUN]
    assert told == [f"flow run {other} could not be resumed: Prefect's server does not answer"]
