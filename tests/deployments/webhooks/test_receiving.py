import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deployments.batch_server.notifications import IngestEvent
from deployments.batch_server.notifications import job_event as servers_job_event
from deployments.webhooks.app import MOST_BYTES
from flows.notifications import INGEST_TOLD, JOB_ENDED
from tests.deployments.webhooks.running import (
    OTHER_RUN,
    RUN,
    TOKENS,
    Receiver,
    ScriptedRuns,
    ingest_event,
    job_event,
    receiver,
    rows,
)

STATUS = {"type": "ingest-status-notification-v1", "success": True}
ODD_IDS = ["../../etc/passwd", "'; DROP TABLE events; --", "日本 🎞", '"\\', "\u202e", "x" * 200, " "]
DEEP = b'{"type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture
def runs() -> ScriptedRuns:
    return ScriptedRuns()


@pytest.fixture
def received(tmp_path: Path, runs: ScriptedRuns) -> Iterator[Receiver]:
    with receiver(tmp_path, runs) as started:
        yield started


def test_job_notification_is_accepted_acted_on_and_told(received: Receiver, runs: ScriptedRuns, tmp_path: Path) -> None:
    answer = received.post(job_event(job_state="fail"))
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    received.settle()
    assert runs.asked == [RUN]
    payload = {"event_id": "e-1", "job_id": f"dr-{RUN}", "job_state": "fail", "outcome": "resumed"}
    assert runs.told == [(JOB_ENDED, RUN, payload)]
    assert rows(tmp_path, "run, event_id, kind, outcome, ended_at") == [(RUN, "e-1", "job", "resumed", 0.0)]


def test_event_that_comes_again_counts_once(received: Receiver, runs: ScriptedRuns, tmp_path: Path) -> None:
    for attempt in (1, 2, 3):
        assert received.post(job_event(delivery_attempt=attempt)).json() == {"status": "accepted"}
        received.settle()
    assert runs.asked == [RUN]
    assert len(rows(tmp_path, "seq")) == len(runs.told) == 1


def test_same_event_id_of_another_run_is_another_event(received: Receiver, runs: ScriptedRuns) -> None:
    received.post(job_event())
    received.post(job_event(run=OTHER_RUN), run=OTHER_RUN)
    received.settle()
    assert sorted(runs.asked) == [RUN, OTHER_RUN]


def test_deliveries_at_once_count_once(received: Receiver, runs: ScriptedRuns, tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: received.post(job_event()).status_code, range(24)))
    received.settle()
    assert answers == [200] * 24
    assert runs.asked == [RUN]
    assert len(rows(tmp_path, "seq")) == 1


def test_answer_does_not_wait_for_what_comes_of_it(received: Receiver, runs: ScriptedRuns) -> None:
    go_on = Event()
    runs.held = go_on
    assert received.post(job_event()).status_code == 200
    assert received.pending() == 1
    go_on.set()
    received.settle()
    assert len(runs.told) == 1


def test_ingest_notification_resumes_a_run_that_has_all_its_files(
    received: Receiver, runs: ScriptedRuns, tmp_path: Path
) -> None:
    assert received.post(ingest_event(STATUS | {"error_details": {"type": "t", "reason": "r"}})).status_code == 200
    received.settle()
    told = {"event_id": "i-1", "ingest_id": "ingest", "batch_id": f"dr-{RUN}", "shard_id": None, "success": True}
    assert runs.told == [(INGEST_TOLD, RUN, told | {"outcome": "resumed"})]
    assert runs.asked == [RUN]
    assert rows(tmp_path, "kind, outcome") == [("ingest", "resumed")]


def test_files_of_an_ingest_are_counted_and_the_first_that_failed_named(
    received: Receiver, runs: ScriptedRuns, tmp_path: Path
) -> None:
    failed = [{"type": "t", "file_name": f"{number}\0.jpg" + "x" * 300, "reason": "secret"} for number in range(30)]
    files = {"ingested_files": ["kept.jpg"] * 170, "failed_files": failed, "content_truncated": True}
    received.post(ingest_event({"type": "ingest-files-status-notification-v1", "success": False, **files}))
    received.settle()
    ((_, _, payload),) = runs.told
    assert (payload["success"], payload["ingested"], payload["failed"]) == (False, 170, 30)
    assert payload["content_truncated"] is True
    assert [name[:3] for name in payload["failed_files"]] == [f"{number}.j"[:3] for number in range(20)]
    assert max(map(len, payload["failed_files"])) < 256
    stored = str(rows(tmp_path, "payload"))
    assert "kept.jpg" not in stored
    assert "secret" not in stored


def test_notifications_of_the_batch_server_are_understood(received: Receiver, runs: ScriptedRuns) -> None:
    ingest = IngestEvent("ingest", f"dr-{RUN}", "shard-0")
    sent = [
        servers_job_event(f"dr-{RUN}", success=True),
        ingest.status({"type": "t", "reason": "r"}),
        ingest.status(None),
        ingest.files(True, ["a.jpg"], []),
    ]
    for event in sent:
        answer = received.post({**event, "delivery_attempt": 1})
        assert answer.status_code == 200, answer.text
    received.settle()
    assert sorted(payload["event_id"] for _, _, payload in runs.told) == sorted(event["event_id"] for event in sent)


def test_publishable_key_must_be_the_one_that_is_set(tmp_path: Path, runs: ScriptedRuns) -> None:
    with receiver(tmp_path, runs, publishable_key="rf_mine") as received:
        for sent in ("rf_mine2", "rf_min", "rf_Mine", "rf_m\u00efne"):
            headers = {b"Authorization": f"Bearer {sent}".encode("latin-1")}
            assert received.post(job_event(), headers=headers).status_code == 401
        assert received.pending() == 0
        assert received.post(job_event(), headers={"Authorization": "Bearer rf_mine"}).status_code == 200
        received.settle()
    assert runs.asked == [RUN]


def test_event_id_of_odd_characters_is_an_id_like_another(
    received: Receiver, runs: ScriptedRuns, tmp_path: Path
) -> None:
    for event_id in [*ODD_IDS, *ODD_IDS]:
        assert received.post(job_event(event_id)).status_code == 200
    received.settle()
    assert rows(tmp_path, "event_id") == [(event_id,) for event_id in ODD_IDS]
    assert sorted(payload["event_id"] for _, _, payload in runs.told) == sorted(ODD_IDS)


def test_body_may_have_the_size_of_the_limit(received: Receiver) -> None:
    body = json.dumps(job_event()).encode().ljust(MOST_BYTES)
    assert received.post(None, json=None, content=body).status_code == 200


def test_unknown_fields_are_ignored(received: Receiver, runs: ScriptedRuns) -> None:
    assert received.post(job_event(workspace={"new": [1]})).status_code == 200
    received.settle()
    assert runs.asked == [RUN]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"delivery_attempt": "1", "job_state": "aborted"}, {"job_state": "aborted"}),
        ({"delivery_attempt": None, "job_state": {"new": [1]}}, {"job_state": None}),
        ({"job_state": "two\nlines"}, {"job_state": None}),
    ],
)
def test_job_notification_of_new_values_wakes_its_run(
    received: Receiver, runs: ScriptedRuns, changes: dict[str, Any], told: dict[str, Any]
) -> None:
    assert received.post(job_event(**changes)).status_code == 200
    received.settle()
    ids = {"event_id": "e-1", "job_id": f"dr-{RUN}"}
    assert runs.told == [(JOB_ENDED, RUN, {**ids, **told, "outcome": "resumed"})]


@pytest.mark.parametrize(
    ("notification", "told"),
    [
        (None, {}),
        ("ingest-status-notification-v1", {}),
        ({"type": "ingest-status-notification-v1"}, {}),
        ({"type": "ingest-status-notification-v1", "success": "true"}, {"success": None}),
        ({"type": "another-v1", "success": True}, {"success": True}),
        (
            {"success": False, "ingested_files": 3, "failed_files": []},
            {"success": False, "failed": 0, "failed_files": []},
        ),
        ({"failed_files": ["a", {}, {"file_name": 7}, {"file_name": "b"}]}, {"failed": 4, "failed_files": ["b"]}),
    ],
)
def test_ingest_notification_of_new_values_wakes_its_run(
    received: Receiver, runs: ScriptedRuns, notification: Any, told: dict[str, Any]
) -> None:
    assert received.post(ingest_event(notification)).status_code == 200
    received.settle()
    ((event, _, payload),) = runs.told
    assert event == INGEST_TOLD
    ids = {"event_id": "i-1", "ingest_id": "ingest", "batch_id": f"dr-{RUN}", "shard_id": None}
    assert payload == {**ids, **told, "outcome": "resumed"}


@pytest.mark.parametrize("event", [job_event(), ingest_event(STATUS)], ids=["job", "ingest"])
def test_notification_of_what_is_needed_alone_wakes_its_run(
    received: Receiver, runs: ScriptedRuns, event: dict[str, Any]
) -> None:
    needed = {name: event[name] for name in ("type", "event_id", "job_id", "batch_id") if name in event}
    assert received.post(needed).status_code == 200
    received.settle()
    ((_, _, payload),) = runs.told
    del needed["type"]
    assert payload == needed | {"outcome": "resumed"}


def test_token_is_in_no_answer_and_in_no_file(received: Receiver, tmp_path: Path) -> None:
    address = received.address()
    token = address.rpartition("/")[2]
    assert TOKENS.check(RUN, token)
    answers = [received.post(job_event()), received.post({}), received.post(job_event(), headers={})]
    received.settle()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert RUN.encode() in kept
    assert token.encode() not in kept
    assert not [answer for answer in answers if token in answer.text]


def test_event_that_cannot_be_stored_is_to_be_sent_again(received: Receiver, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.sqlite3")) as connection:
        connection.execute("ALTER TABLE events RENAME TO gone")
        answer = received.post(job_event())
        connection.execute("ALTER TABLE gone RENAME TO events")
    assert answer.status_code == 503
    assert answer.json()["error"].endswith("send it again")
    assert received.post(job_event()).status_code == 200
    received.settle()
