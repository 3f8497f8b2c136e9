"""What a receiver refuses, with nothing changed by any of it."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployments.webhooks.app import MOST_BYTES
from tests.deployments.webhooks.running import (
    OTHER_RUN,
    RUN,
    SENDER,
    Receiver,
    ScriptedRuns,
    ingest_event,
    job_event,
    receiver,
    rows,
)

DEEP = b'{"type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that has accepted nothing when all is over."""
    data, runs = tmp_path_factory.mktemp("data"), ScriptedRuns()
    with receiver(data, runs) as started:
        yield started
    assert rows(data, "seq") == []
    assert (runs.asked, runs.told) == ([], [])


@pytest.fixture
def received(untouched: Receiver) -> Iterator[Receiver]:
    yield untouched
    assert untouched.pending() == 0


def refused(received: Receiver, body: Any, status: int = 400) -> str:
    answer = received.post(None, json=None, content=body)
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert isinstance(said, str)
    assert len(said.splitlines()) == 1
    assert len(said) < 400
    return said


@pytest.mark.parametrize(
    "path",
    [
        f"/notifications/{RUN}/{'0' * 32}",
        f"/notifications/{RUN}/%C3%A9%00",
        f"/notifications/{OTHER_RUN}/{{token}}",
        "/notifications/no-key/{token}",
        "/notifications/..%5C..%5Cetc/{token}",
        f"/notifications/{RUN.upper()}/{{token}}",
        f"/notifications/{'a' * 4000}/{{token}}",
    ],
)
def test_forged_address_is_refused_and_changes_nothing(received: Receiver, path: str) -> None:
    token = received.address().rpartition("/")[2]
    url = received.url + path.format(token=token)
    for headers in (SENDER, {}):
        answer = received.http.post(url, json=job_event(), headers=headers)
        assert answer.status_code == 403
        assert answer.json() == {"error": "no platform was given this address"}


def test_forged_address_is_refused_before_the_body_is_read(received: Receiver) -> None:
    parts = urlsplit(received.url)
    head = f"POST /notifications/{RUN}/forged HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "path", ["", "/", "{address}/", "{address}/more", "/notifications/{run}", "/docs", "/openapi.json"]
)
def test_unknown_path_is_not_there(received: Receiver, path: str) -> None:
    url = received.url + path.format(address=urlsplit(received.address()).path, run=RUN)
    assert received.http.post(url, json=job_event(), headers=SENDER).status_code == 404


def test_address_is_for_posts_only(received: Receiver) -> None:
    assert received.http.get(received.address(), headers=SENDER).status_code == 405


@pytest.mark.parametrize(
    "authorization", [None, "", "rf_workspace", "Bearer", "Bearer rf_", "Bearer secret", "Basic rf_x", "Bearer rf_a b"]
)
def test_request_without_a_publishable_key_is_refused(received: Receiver, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = received.post(job_event(), headers=headers)
    assert answer.status_code == 401
    assert len(answer.json()["error"].splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "EOF while parsing"),
        (b"job_id=1&job_state=success", "Invalid JSON"),
        (b"\xff\xfe{}", "Invalid JSON"),
        (b'"text"', "Input should be an object"),
        (b"[]", "Input should be an object"),
        (b"{}", "Unable to extract tag"),
        (DEEP, "recursion limit"),
        (b'{"type": "' + b"x" * 100_000 + b'"}', "Input tag 'xxx"),
        (json.dumps({"type": "a\nb\u2028c"}).encode(), "does not match any of the expected tags"),
    ],
    ids=["empty", "form", "bytes", "text", "list", "nothing", "deep", "long", "lines"],
)
def test_body_that_is_no_notification_is_refused(received: Receiver, body: bytes, said: str) -> None:
    assert said in refused(received, body)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": None},
        {"event_id": 7},
        {"event_id": ""},
        {"event_id": "x" * 201},
        {"event_id": "two\nlines"},
        {"event_id": "nul\0"},
        {"event_id": ["e-1"]},
        {"job_id": 12},
        {"job_id": None},
        {"job_id": f"dr-{OTHER_RUN}"},
    ],
)
def test_job_notification_of_wrong_values_is_refused(received: Receiver, changes: dict[str, Any]) -> None:
    refused(received, json.dumps(job_event(**changes)).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": None},
        {"event_id": "two\nlines"},
        {"batch_id": 12},
        {"batch_id": None},
        {"batch_id": f"dr-{OTHER_RUN}"},
    ],
)
def test_ingest_notification_of_wrong_values_is_refused(received: Receiver, changes: dict[str, Any]) -> None:
    refused(received, json.dumps(ingest_event({}) | changes).encode())


def test_half_a_surrogate_pair_is_refused(received: Receiver) -> None:
    refused(received, json.dumps(job_event()).replace("e-1", "\\ud800").encode())


def test_body_that_is_too_large_is_refused(received: Receiver) -> None:
    body = json.dumps(job_event()).encode().ljust(MOST_BYTES + 1)
    assert f"over {MOST_BYTES} bytes" in refused(received, body, status=413)


def test_body_that_never_ends_is_refused(received: Receiver) -> None:
    pieces = (b" " * 4096 for _ in range(1000))
    assert f"over {MOST_BYTES} bytes" in refused(received, pieces, status=413)
