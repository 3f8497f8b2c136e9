import json
import socket
from pathlib import Path
from threading import Thread

import pytest

from deployments.batch_server.refusals import BadRequest
from deployments.batch_server.routes import bodies
from deployments.batch_server.routes.bodies import MAX_JSON_BYTES, MOST_VALUES, parse_json
from tasks.roboflow_api.models import MAX_REFERENCES
from tests.deployments.batch_server.running import ServerClient, archive, job_body, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine

JOBS = "/batch-processing/v1/external/local/jobs"
REFERENCES = "/data-staging/v1/external/local/batches/b/bulk-upload/image-references"
JSON = {"Content-Type": "application/json"}


def job_with(parameter: str) -> str:
    """A job request with this JSON text as a parameter's value."""
    return json.dumps(job_body("b", specification={"workflowParameters": {"color": "here"}})).replace(
        '"here"', parameter
    )


@pytest.mark.parametrize("path", [f"{JOBS}/j", "/local/workflows/w", REFERENCES])
def test_client_without_a_key_is_answered_before_its_body_is_read(server: ServerClient, path: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("NaN", "NaN is not a JSON value"),
        ('"\\ud800"', "surrogates"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 900 + "]" * 900, "nested too deeply"),
        ("9" * 5000, "4300 digits"),
        ("{", "not JSON"),
    ],
)
def test_json_that_could_not_be_given_back_is_400_and_spoils_no_listing(
    server: ServerClient, batch: str, job: str, parameter: str, reason: str
) -> None:
    server.upload(batch, "a.jpg", b"one")
    body = job_with(parameter).replace('"batchId": "b"', f'"batchId": "{batch}"')
    answer = server.jobs("POST", f"/{job}", content=body, headers=JSON)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert server.jobs("GET", "").status_code == 200
    assert server.jobs("GET", f"/{job}").status_code == 404


def test_json_over_the_limit_is_413(server: ServerClient, job: str) -> None:
    answer = server.jobs("POST", f"/{job}", content=b" " * (MAX_JSON_BYTES + 1), headers=JSON)
    assert answer.status_code == 413


def test_archive_over_the_limit_is_413_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.batch_server.routes.blobs.MAX_ARCHIVE_BYTES", 10_000)
    with thread_server(settings_for(tmp_path / "data"), SmallEngine()) as server:
        url, content = server.allocate("b"), archive({"a.jpg": bytes(20_000)})
        pieces = (content[start : start + 1000] for start in range(0, len(content), 1000))
        for body in (content, pieces):
            answer = server.put(url, body)
            assert answer.status_code == 413
            assert "10000 bytes" in answer.json()["error"]
        assert not list((tmp_path / "data/blobs").glob("*/*"))
        assert server.staging("GET", "/b/shards").json()["shards"] == []


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1.5"])
def test_json_of_more_values_than_any_request_has_is_refused_unparsed(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "deployments.batch_server.routes.bodies.json.loads", lambda *_, **__: pytest.fail("it was parsed")
    )
    with pytest.raises(BadRequest, match="more values"):
        parse_json(b"[" + b",".join([value] * (MOST_VALUES + 1)) + b"]")


def test_references_whose_names_are_full_of_brackets_pass() -> None:
    entries = [{"name": "{[,]}" * 4, "url": "https://a.example/,"}] * MAX_REFERENCES
    assert parse_json(json.dumps({"imageReferences": entries}).encode())["imageReferences"] == entries


def test_large_json_is_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGE_BYTES", 10)
    parsed: list[object] = []
    large = Thread(target=lambda: parsed.append(parse_json(b'"long enough"')))
    with bodies._LARGE:
        large.start()
        assert parse_json(b"1") == 1
        large.join(0.05)
        assert parsed == []
    large.join()
    assert parsed == ["long enough"]
