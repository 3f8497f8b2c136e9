import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.webhooks.claims import Claim, Kind
from deployments.webhooks.store import EventStore, StoreUnusable
from deployments.webhooks.worker import AT_ONCE, DOUBT, KEPT, LIMIT, PAUSES, Worker
from flows.notifications import INGEST_TOLD, JOB_ENDED, Outcome, TryAgain
from tests.deployments.webhooks.running import OTHER_RUN, RUN, ScriptedRuns, job_event, receiver, rows
from tests.fake_time import FakeTime
from tests.waiting import wait_for

DOWN = TryAgain("the platform does not answer")


class Desk:
    """A worker whose events are acted on when a test says so."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.time = FakeTime()
        self.runs = ScriptedRuns()
        self.store = EventStore(data / "events.sqlite3", self.clock, busy_seconds=0.05)
        self.worker = Worker(self.store, self.runs, self.clock)

    def clock(self) -> float:
        return self.time.seconds

    def accept(self, event_id: str = "e", run: str = RUN, kind: Kind = Kind.JOB) -> bool:
        return self.store.accept(run, Claim(event_id, kind, {"event_id": event_id}))

    def act(self) -> int:
        """Acts on all that is due, and gives how much that was."""
        number = 0
        while self.worker.act_on_next():
            number += 1
        return number

    def until_next(self) -> float:
        """Lets time pass until something is due, and gives the seconds."""
        seconds = self.store.wait(())
        assert seconds is not None
        self.time.sleep(seconds)
        return seconds

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        return rows(self.data, columns)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path)
    yield opened
    opened.store.close()


def test_flow_run_that_is_still_at_work_is_asked_again_until_it_is_resumed(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.EARLY, DOWN, Outcome.EARLY, Outcome.RESUMED]
    desk.accept()
    assert desk.act() == 1
    for pause in PAUSES[:3]:
        assert desk.runs.told == []
        desk.time.sleep(pause - 0.5)
        assert desk.act() == 0
        desk.time.sleep(0.5)
        assert desk.act() == 1
    assert desk.runs.told == [(JOB_ENDED, RUN, {"event_id": "e", "outcome": "resumed"})]
    assert desk.rows("attempts, outcome, ended_at") == [(3, "resumed", sum(PAUSES[:3]))]
    assert desk.store.pending() == 0
    assert desk.store.wait(()) is None


def test_pauses_grow_to_their_last_and_end_with_the_limit(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.runs.script[RUN] = [Outcome.EARLY] * 10_000
    desk.accept()
    for pause in (*PAUSES, PAUSES[-1], PAUSES[-1]):
        assert desk.act() == 1
        assert desk.until_next() == pause
    desk.time.seconds = LIMIT - 1
    assert desk.act() == 1
    assert desk.until_next() == PAUSES[-1]
    assert desk.store.pending() == 1
    assert desk.act() == 1
    assert desk.rows("outcome, ended_at") == [("given up", desk.clock())]
    assert desk.runs.told == []
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"run {RUN}: job event given up after 24 h: its flow run is still at work"
    ]


def test_claim_that_stays_denied_is_told_to_nobody(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.DENIED] * 20
    desk.accept()
    while desk.store.pending():
        desk.act()
        if desk.store.pending():
            desk.until_next()
    assert desk.runs.told == []
    ((outcome, ended),) = desk.rows("outcome, ended_at")
    assert outcome == "denied"
    assert ended >= DOUBT


def test_ingest_claim_that_stays_denied_is_noted_after_a_minute_and_told(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.DENIED] * 20
    desk.accept(kind=Kind.INGEST)
    desk.act()
    while desk.store.pending():
        assert desk.runs.told == []
        desk.until_next()
        desk.act()
    assert desk.runs.told == [(INGEST_TOLD, RUN, {"event_id": "e", "outcome": "noted"})]
    ((outcome, ended),) = desk.rows("outcome, ended_at")
    assert outcome == "noted"
    assert ended >= DOUBT


@pytest.mark.parametrize("kind", Kind)
def test_claim_that_the_platform_shows_a_little_later_is_acted_on(desk: Desk, kind: Kind) -> None:
    desk.runs.script[RUN] = [Outcome.DENIED, Outcome.RESUMED]
    desk.accept(kind=kind)
    desk.act()
    desk.until_next()
    desk.act()
    assert desk.rows("outcome") == [("resumed",)]


def test_claim_that_nobody_waits_for_is_told(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.NOTHING]
    desk.accept()
    desk.act()
    assert desk.runs.told == [(JOB_ENDED, RUN, {"event_id": "e", "outcome": "nothing"})]


def test_event_that_could_not_be_told_is_told_later_and_not_acted_on_again(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.RESUMED, Outcome.NOTHING]
    desk.runs.deaf = [TryAgain("Prefect is down"), TryAgain("Prefect is down")]
    desk.accept()
    desk.accept("i", kind=Kind.INGEST)
    for _ in PAUSES[:3]:
        desk.act()
        if desk.store.pending():
            desk.until_next()
    assert desk.runs.asked == [RUN, RUN]
    assert sorted(event for event, _, _ in desk.runs.told) == [INGEST_TOLD, JOB_ENDED]
    assert desk.rows("outcome") == [("resumed",), ("nothing",)]


def test_event_that_is_never_told_keeps_what_came_of_it(desk: Desk) -> None:
    desk.runs.deaf = [TryAgain("Prefect is down")] * 10_000
    desk.accept()
    desk.act()
    desk.time.sleep(LIMIT)
    desk.act()
    assert desk.rows("outcome, ended_at") == [("resumed", LIMIT)]


def test_error_that_nobody_thought_of_is_tried_again_and_kept_quiet_of(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    desk.runs.script[RUN] = [RuntimeError("https://host/?api_key=S3CRET"), Outcome.RESUMED]
    desk.accept()
    desk.act()
    desk.until_next()
    desk.act()
    assert len(desk.runs.told) == 1
    assert "internal error (RuntimeError)" in caplog.text
    assert "S3CRET" not in caplog.text


def test_event_that_is_tried_again_is_said_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    desk.runs.script[RUN] = [DOWN, DOWN, DOWN, Outcome.RESUMED]
    desk.accept()
    desk.act()
    while desk.store.pending():
        desk.until_next()
        desk.act()
    assert caplog.messages == [
        f"run {RUN}: job event is tried again for up to 24 h: the platform does not answer",
        f"run {RUN}: job event, resumed",
    ]


def test_event_that_waits_holds_up_no_other(desk: Desk) -> None:
    desk.runs.script[RUN] = [Outcome.EARLY]
    desk.accept()
    desk.accept(run=OTHER_RUN)
    desk.accept("later")
    assert desk.act() == 3
    assert [(run, payload["event_id"]) for _, run, payload in desk.runs.told] == [(OTHER_RUN, "e"), (RUN, "later")]


def test_event_that_has_ended_is_remembered_for_a_month(desk: Desk) -> None:
    desk.accept()
    desk.act()
    desk.time.sleep(KEPT)
    desk.store.prune(KEPT)
    assert not desk.accept()
    desk.time.sleep(1)
    desk.accept("waiting")
    desk.store.prune(KEPT)
    assert desk.rows("event_id") == [("waiting",)]


def test_worker_takes_up_at_once_what_an_earlier_one_left(desk: Desk) -> None:
    desk.runs.script[RUN] = [DOWN, Outcome.RESUMED]
    desk.accept()
    desk.act()
    desk.store.close()
    with receiver(desk.data, desk.runs, desk.time) as received:
        received.settle()
    assert desk.runs.asked == [RUN, RUN]
    assert len(desk.runs.told) == 1


def test_event_whose_telling_was_cut_off_is_told_after_a_restart(desk: Desk) -> None:
    desk.runs.deaf = [TryAgain("Prefect is down")]
    desk.accept()
    desk.act()
    desk.store.close()
    with receiver(desk.data, desk.runs, desk.time) as received:
        received.settle()
        assert received.post(job_event("e")).status_code == 200
        assert received.pending() == 0
    assert desk.runs.asked == [RUN]
    assert len(desk.runs.told) == 1


def test_runs_are_looked_after_at_once_but_the_events_of_one_in_turn(tmp_path: Path) -> None:
    go_on = Event()
    runs = ScriptedRuns(held=go_on)
    others = [f"{number:016x}" for number in range(AT_ONCE - 1)]
    with receiver(tmp_path, runs) as received:
        for event in ("e-1", "e-2"):
            received.post(job_event(event))
        for run in others:
            received.post(job_event(run=run), run=run)
        wait_for(lambda: len(runs.asked) == AT_ONCE, "every thread")
        assert sorted(runs.asked) == sorted([RUN, *others])
        go_on.set()
        received.settle()
    assert runs.asked[AT_ONCE:] == [RUN]
    assert len(runs.told) == AT_ONCE + 1


def test_database_that_somebody_else_holds_is_told_and_nothing_accepted(desk: Desk) -> None:
    other = sqlite3.connect(desk.data / "events.sqlite3", isolation_level=None)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            desk.accept()
        other.execute("ROLLBACK")
    assert desk.accept()


def test_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite3").write_text("no database, but long enough to be looked at as one" * 50)
    with pytest.raises(StoreUnusable, match=r"events.sqlite3 cannot be used \(.*\): move it away"):
        Desk(tmp_path)


def test_database_of_another_version_is_said(desk: Desk) -> None:
    with closing(sqlite3.connect(desk.data / "events.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreUnusable, match="another version of this receiver"):
        Desk(desk.data)
