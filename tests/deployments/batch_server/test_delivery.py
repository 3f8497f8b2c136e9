import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select

from deployments.batch_server.database import Database, NotificationRow
from deployments.batch_server.delivery import AT_ONCE, EACH_AT_ONCE, PAUSES, Delivery
from deployments.batch_server.remote.connections import ConnectionPool
from deployments.batch_server.remote.guard import AddressGuard, system_lookup
from deployments.batch_server.remote.hosts import AllowedHosts
from deployments.batch_server.services import World
from deployments.batch_server.store.outbox import OutboxStore, enqueue
from tests.deployments.batch_server.media_host import Answer, MediaHost, media_host
from tests.deployments.batch_server.running import ServerClient, archive, process_server, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.waiting import wait_for

GOOD = Answer(body=b"image")
NO_ENGINE = ("--engine", "missing/python")


@pytest.fixture
def media() -> Iterator[MediaHost]:
    """Media, and the place where notifications go."""
    with media_host() as running:
        running.answers = {"/good.jpg": GOOD, "/hook": Answer(204)}
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerClient]:
    world = World(pauses=(0.01,) * 4, lookup=lambda host: ["127.0.0.2"])
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine(), world) as client:
        yield client


def told(media: MediaHost, number: int) -> list[dict[str, Any]]:
    """So many notifications, in the order they came."""
    wait_for(lambda: len([asked for asked in media.asked if asked.path.startswith("/hook")]) >= number, "the hook")
    return [asked.json() for asked in media.asked if asked.path.startswith("/hook")]


def nothing_waits(folder: Path) -> bool:
    database = Database(f"sqlite:///{folder / 'server.sqlite3'}")
    try:
        with database.read() as session:
            return session.scalar(select(NotificationRow.seq)) is None
    finally:
        database.close()


def test_end_of_an_ingest_is_told_once_with_the_publishable_key(
    server: ServerClient, media: MediaHost, tmp_path: Path
) -> None:
    urls = {f"{number}.jpg": media.url("/good.jpg") for number in range(300)} | {"gone.jpg": media.url("/gone")}
    server.refer("b", urls, ingestId="i", notificationsURL=media.url("/hook?token=secret"))
    (event,) = told(media, 1)
    assert event.pop("event_id")
    assert event == {
        "type": "roboflow-data-staging-notification-v1",
        "ingest_id": "i",
        "batch_id": "b",
        "shard_id": None,
        "notification": {"type": "ingest-status-notification-v1", "success": True},
        "delivery_attempt": 1,
    }
    (asked,) = [asked for asked in media.asked if asked.path == "/hook?token=secret"]
    assert asked.headers["authorization"] == "Bearer rf_local"
    assert asked.headers["content-type"] == "application/json"
    wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert not any("authorization" in asked.headers for asked in media.asked if asked.path != "/hook?token=secret")


def test_files_of_each_shard_are_told_to_who_asks_for_them(server: ServerClient, media: MediaHost) -> None:
    urls = {f"{number}.jpg": media.url("/good.jpg") for number in range(300)} | {"gone.jpg": media.url("/gone?sig=s")}
    categories = ["files-status", "ingest-status"]
    fields = {"notificationsURL": media.url("/hook"), "notificationCategories": categories}
    shard_ids = server.refer("b", urls, **fields).json()["shardIds"]
    events = told(media, 3)
    assert len({event["event_id"] for event in events}) == 3
    by_shard = {event["shard_id"]: event["notification"] for event in events}
    assert by_shard[None] == {"type": "ingest-status-notification-v1", "success": True}
    first, second = (by_shard[shard_id] for shard_id in shard_ids)
    assert first == {
        "type": "ingest-files-status-notification-v1",
        "success": True,
        "ingested_files": [f"{number}.jpg" for number in range(200)],
        "failed_files": [],
        "content_truncated": True,
    }
    reason = f"{media.url('/gone')} is not there (status 404)"
    assert second["failed_files"] == [{"type": "reference-not-found", "file_name": "gone.jpg", "reason": reason}]
    assert (len(second["ingested_files"]), second["content_truncated"]) == (44, False)


def test_files_alone_are_told_to_who_asks_for_them_alone(server: ServerClient, media: MediaHost) -> None:
    fields = {"notificationsURL": media.url("/hook"), "notificationCategories": ["files-status"]}
    server.refer("b", {"a.jpg": media.url("/good.jpg")}, **fields)
    server.refer("c", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
    kinds = {event["batch_id"]: event["notification"]["type"] for event in told(media, 2)}
    assert kinds == {"b": "ingest-files-status-notification-v1", "c": "ingest-status-notification-v1"}


def test_unsafe_host_is_told_as_the_contract_shows(server: ServerClient, media: MediaHost) -> None:
    fields = {"notificationsURL": media.url("/hook"), "notificationCategories": ["files-status", "ingest-status"]}
    unsafe = "https://127.0.0.2/image.png?sig=secret"
    server.refer("b", {"a.jpg": unsafe, "b.jpg": media.url("/good.jpg")}, **fields)
    files, status = sorted((event["notification"] for event in told(media, 2)), key=lambda entry: entry["type"])
    assert (status["success"], status["error_details"]["type"]) == (False, "unsafe-url-detected")
    assert status["error_details"]["reason"].startswith("Untrusted domain found: https://127.0.0.2/image.png (")
    assert (files["success"], files["ingested_files"]) == (False, [])
    assert {entry["type"] for entry in files["failed_files"]} == {"unsafe-url-detected"}
    assert [asked.path for asked in media.asked] == ["/hook", "/hook"]


def test_unsafe_redirect_makes_the_ingest_a_failure(server: ServerClient, media: MediaHost) -> None:
    media.answers["/away"] = Answer(302, headers={"Location": "http://127.0.0.2/x?sig=secret"})
    urls = {"a.jpg": media.url("/away"), "b.jpg": media.url("/good.jpg")}
    server.refer("b", urls, notificationsURL=media.url("/hook"))
    (event,) = told(media, 1)
    details = event["notification"]["error_details"]
    assert details["type"] == "unsafe-url-detected"
    assert details["reason"].startswith("Untrusted domain found: http://127.0.0.2/x (")
    assert server.count("b") == 1


def test_ingest_that_brought_nothing_is_a_failure_unless_the_batch_has_it_all(
    server: ServerClient, media: MediaHost
) -> None:
    server.refer("none", {"a.jpg": media.url("/gone")}, notificationsURL=media.url("/hook"))
    (event,) = told(media, 1)
    assert event["notification"]["error_details"]["type"] == "no-files-ingested"
    server.fill("full", {"a.jpg": b"one"})
    server.refer("full", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
    assert told(media, 2)[1]["notification"] == {"type": "ingest-status-notification-v1", "success": True}


def test_notification_that_is_not_taken_comes_again_as_the_same_event(
    server: ServerClient, media: MediaHost, tmp_path: Path
) -> None:
    away = Answer(302, headers={"Location": "/good.jpg"})
    media.answers["/hook"] = [Answer(500), Answer(raw=b""), away, Answer(200)]
    server.refer("b", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
    events = told(media, 4)
    wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    # A kept connection that ends without an answer is no attempt of its own: the host may have ended it before.
    assert [event.pop("delivery_attempt") for event in events] == [1, 2, 2, 3]
    assert events == [events[0]] * len(events)
    assert media.paths().count("/good.jpg") == 1


@pytest.mark.parametrize(
    "hook", ["https://private.example/secret-T0?token=secret", "http://127.0.0.1:1/secret-T0?token=secret"]
)
def test_notification_that_cannot_be_delivered_is_given_up_and_said(
    server: ServerClient, media: MediaHost, tmp_path: Path, caplog: pytest.LogCaptureFixture, hook: str
) -> None:
    with caplog.at_level(logging.WARNING):
        server.refer("b", {"a.jpg": media.url("/good.jpg")}, notificationsURL=hook)
        wait_for(lambda: "was not delivered" in caplog.text, "the warning")
        wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
    assert f"a notification to {hook.partition('/secret')[0]} was not delivered" in caplog.text
    assert "secret" not in caplog.text


def with_config(config: Any, images: dict[str, bytes]) -> bytes:
    return archive({**images, "notification_config.json": json.dumps(config).encode()})


def test_archive_that_asks_for_it_is_told_of(server: ServerClient, media: MediaHost) -> None:
    config = {"ingestId": "i", "notificationsURL": media.url("/hook")}
    url = server.allocate("b")
    for _ in range(2):
        server.put(url, with_config(config, {"a.jpg": b"one"}))
        (shard,) = server.shards("b")
    (event,) = told(media, 1)
    assert (event["ingest_id"], event["batch_id"], event["shard_id"]) == ("i", "b", shard["shardId"])
    assert event["notification"] == {"type": "ingest-status-notification-v1", "success": True}
    assert list(server.images("b")) == ["a.jpg"]
    server.put(server.allocate("c"), with_config(config, {"x/y.jpg": b"one"}))
    assert told(media, 2)[1]["notification"]["error_details"]["type"] == "no-files-ingested"


@pytest.mark.parametrize(
    "config",
    [
        [],
        "x",
        {},
        {"ingestId": "i"},
        {"notificationsURL": 7},
        {"notificationsURL": "ftp://a.example"},
        {"notificationsURL": "https://a.example/" + "x" * 20_000},
    ],
)
def test_archive_with_a_config_that_says_nothing_is_ingested(server: ServerClient, config: Any, tmp_path: Path) -> None:
    server.put(server.allocate("b"), with_config(config, {"a.jpg": b"one"}))
    (shard,) = server.shards("b")
    assert (shard["statusType"], "statusMetadata" in shard) == ("success", False)
    assert nothing_waits(tmp_path)


def test_notification_survives_a_killed_server(tmp_path: Path, media: MediaHost) -> None:
    never = Event()
    media.answers["/hook"] = [Answer(hold=never), Answer(200)]
    with process_server(tmp_path, *NO_ENGINE, "--allow-host", "127.0.0.1") as first:
        first.client.refer("b", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook?token=secret"))
        (before,) = told(media, 1)
        first.kill()
    never.set()
    make_due(tmp_path)
    with process_server(tmp_path, *NO_ENGINE, "--allow-host", "127.0.0.1") as second:
        after = told(media, 2)[1]
        wait_for(lambda: nothing_waits(tmp_path), "the end of the delivery")
        errors = second.terminate()
    assert (before.pop("delivery_attempt"), after.pop("delivery_attempt")) == (1, 2)
    assert before == after
    kept = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert "token=" not in errors + kept


def make_due(folder: Path) -> None:
    """Ends the pause."""
    database = Database(f"sqlite:///{folder / 'server.sqlite3'}")
    with database.write() as session:
        session.scalars(select(NotificationRow)).one().due_at = 0.0
    database.close()


def test_pauses_grow_and_end(tmp_path: Path) -> None:
    now = [1000.0]
    database = Database(f"sqlite:///{tmp_path / 'db'}")
    store = OutboxStore(database, lambda: now[0])
    with database.write() as session:
        enqueue(session, "http://127.0.0.1:1/hook", {"event_id": "e"}, now[0])
    pool = ConnectionPool(AddressGuard(AllowedHosts.parse(["127.0.0.1"]), system_lookup, 1), 1, 1)
    delivery = Delivery(store, pool, "rf_local")

    async def attempts() -> int:
        begun = await delivery.begin_due()
        await asyncio.gather(*delivery.under_way)
        return begun

    waits = []
    for _ in PAUSES:
        assert asyncio.run(attempts()) == 1
        wait = store.wait(1)
        waits.append(wait)
        assert asyncio.run(attempts()) == 0
        now[0] += wait or 0.0
    assert waits == [*PAUSES[:-1], None]
    assert sorted(PAUSES) == list(PAUSES)
    database.close()


def test_outbox_is_emptied_however_much_there_is(tmp_path: Path, media: MediaHost) -> None:
    database = Database(f"sqlite:///{tmp_path / 'server.sqlite3'}")
    with database.write() as session:
        for number in range(2 * AT_ONCE + 1):
            enqueue(session, media.url("/hook"), {"event_id": str(number)}, 0.0)
    database.close()
    with thread_server(settings_for(tmp_path, allow_hosts=("127.0.0.1",)), SmallEngine()):
        wait_for(lambda: nothing_waits(tmp_path), "the end of the deliveries")
    assert {event["event_id"] for event in told(media, 1)} == {str(number) for number in range(2 * AT_ONCE + 1)}


def test_receiver_that_hangs_holds_up_nobody_else(server: ServerClient, media: MediaHost, tmp_path: Path) -> None:
    never = Event()
    with media_host() as stuck:
        stuck.answers = {"/stuck": Answer(204, hold=never)}
        for number in range(2 * AT_ONCE):
            fields = {"notificationsURL": stuck.url("/stuck")}
            server.refer(f"stuck-{number}", {"a.jpg": media.url("/good.jpg")}, **fields)
        wait_for(lambda: len(stuck.asked) == EACH_AT_ONCE, "the receiver that hangs")
        server.refer("b", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
        told(media, 1)
        assert len(stuck.asked) == EACH_AT_ONCE
        never.set()
        wait_for(lambda: nothing_waits(tmp_path), "the end of the deliveries")


def test_attempt_that_fails_in_an_unforeseen_way_is_one_that_failed(
    server: ServerClient,
    media: MediaHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(Delivery, "_post", fail)
    server.refer("b", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
    wait_for(lambda: "after 4 attempts: internal error (ValueError)" in caplog.text, "the warning")
    monkeypatch.undo()
    server.refer("c", {"a.jpg": media.url("/good.jpg")}, notificationsURL=media.url("/hook"))
    assert told(media, 1)[0]["batch_id"] == "c"
    wait_for(lambda: nothing_waits(tmp_path), "the end of the deliveries")


def test_events_are_taken_oldest_first_and_some_for_each_origin(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'db'}")
    store = OutboxStore(database, lambda: 100.0)
    with database.write() as session:
        for due, url in [
            (3.0, "http://a/x"),
            (1.0, "http://a?y"),
            (2.0, "http://a"),
            (9.0, "http://ab/"),
            (4.0, "http://b"),
        ]:
            enqueue(session, url, {}, due)
    first = store.take_due((5.0,), 3, 2)
    assert [entry.url for entry in first] == ["http://a?y", "http://a", "http://b"]
    assert store.wait(2, first) == 0.0
    second = store.take_due((5.0,), 3, 2, first)
    assert [entry.url for entry in second] == ["http://ab/"]
    assert store.wait(2, first + second) is None
    assert store.take_due((5.0,), 3, 2, first + second) == []
    database.close()
