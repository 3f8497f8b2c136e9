from __future__ import annotations

import httpx

from deployments.stack.flow_runs import cancel_flow_runs
from deployments.stack.patient import POLL_SECONDS, Patient
from tests.fake_time import FakeTime
from tests.scripted import Reply, scripted_server

BUSY = Reply(503)


def test_busy_server_is_asked_again_with_the_same_request() -> None:
    time = FakeTime()
    patient = Patient(clock=lambda: time.seconds, sleep=time.sleep)
    with scripted_server() as server, httpx.Client(transport=patient) as client:
        server.replies([BUSY, BUSY, Reply(201)])
        assert client.post(server.url, json={"state": "CRASHED"}).status_code == 201
    assert [seen.json() for seen in server.seen] == [{"state": "CRASHED"}] * 3
    assert time.pauses == [POLL_SECONDS] * 2


def test_server_that_is_busy_for_too_long_is_told_as_such() -> None:
    time = FakeTime()
    patient = Patient(1.0, clock=lambda: time.seconds, sleep=time.sleep)
    with scripted_server() as server, httpx.Client(transport=patient) as client:
        server.replies([BUSY] * 9)
        assert client.get(server.url).status_code == 503
    assert len(server.seen) == 5


def test_end_of_the_stack_waits_for_a_server_that_is_busy() -> None:
    told: list[str] = []
    with scripted_server() as server:
        server.replies([BUSY, Reply(body=b"[]"), Reply(body=b"[]"), Reply(body=b"[]")])
        cancel_flow_runs(server.url, told.append, has_worker=False)
    assert (told, len(server.seen)) == ([], 4)


def test_other_refusals_are_final() -> None:
    with scripted_server() as server, httpx.Client(transport=Patient()) as client:
        server.replies([Reply(500)])
        assert client.get(server.url).status_code == 500
    assert len(server.seen) == 1
