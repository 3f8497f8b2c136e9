import gzip
import inspect
import json
import logging
import socket
import threading

import httpx
import pytest
import urllib3.exceptions
from pydantic import SecretStr

from tasks.core.errors import (
    BadInput,
    Conflict,
    ConnectionFailed,
    DarkroomError,
    KeyRefused,
    NotFound,
    RequestRefused,
    ServiceBusy,
    is_transient,
)
from tasks.roboflow_api.models import BatchesPage, CountAnswer, ShardsPage, WorkspaceAnswer
from tasks.roboflow_api.retrying import RetryPolicy
from tasks.roboflow_api.transport import TRANSIENT_STATUS, Limits, Transport, _mapped
from tests.fake_time import FakeTime
from tests.scripted import Reply, Scripted
from tests.tasks.roboflow_api.conftest import KEY

HTML = b"<!DOCTYPE html>\n<html><body><h1>Sorry</h1>\n<p>Try\n later</p></body></html>"
ERRORS = [
    kind
    for kind in (*vars(httpx).values(), *vars(urllib3.exceptions).values())
    if inspect.isclass(kind)
    and issubclass(kind, Exception)
    and kind.__module__.partition(".")[0] in ("httpx", "urllib3")
    if not issubclass(kind, Warning)
]
GOOD = Reply(body=b'{"count": 3}')


def count(transport: Transport) -> int:
    return transport.get("/count", CountAnswer).count


def refusal(transport: Transport) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        count(transport)
    return caught.value


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_mapping_knows_every_exception_of_the_library(kind: type[Exception]) -> None:
    with pytest.raises(DarkroomError) as caught, _mapped("GET", "http://host/path?api_key=secret"):
        error = kind.__new__(kind, "boom")
        vars(error).update(partial=1, expected=2, length=b"3")  # what some show of themselves
        raise error
    assert "host/path" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_mapping_lets_other_exceptions_pass() -> None:
    with pytest.raises(ZeroDivisionError), _mapped("GET", "http://host/"):
        raise ZeroDivisionError


def test_mapping_bears_a_url_that_is_none() -> None:
    with pytest.raises(BadInput, match="an invalid URL"), _mapped("PUT", "http://[::1/x?sig=secret"):
        raise httpx.InvalidURL("no")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 599])
def test_get_retries_transient_status(server: Scripted, transport: Transport, time: FakeTime, status: int) -> None:
    server.replies([Reply(status, HTML), Reply(status), GOOD])
    assert count(transport) == 3
    assert time.pauses == [0.2, 0.4]


def test_transient_status_are_those_of_the_contract() -> None:
    assert {status for status in range(400, 500) if status in TRANSIENT_STATUS} == {408, 425, 429}
    assert {status for status in range(500, 600) if status not in TRANSIENT_STATUS} == {501, 505, 507, 511}


def test_get_gives_up_after_the_attempts(server: Scripted, time: FakeTime) -> None:
    server.replies([Reply(503, b'{"error": "asleep"}')] * 9)
    policy = RetryPolicy(attempts=3)
    with Transport(server.url, SecretStr(KEY), policy, timing=time.timing()) as transport:
        error = refusal(transport)
    assert isinstance(error, ServiceBusy)
    assert (error.status, error.excerpt, len(server.seen)) == (503, "asleep", 3)
    assert "answered 503" in str(error)
    assert "asleep" in str(error)


def test_get_gives_up_after_the_total_time(server: Scripted, time: FakeTime) -> None:
    server.replies([Reply(500)] * 9)
    policy = RetryPolicy(attempts=100, first=4, factor=1, total=10)
    with Transport(server.url, SecretStr(KEY), policy, timing=time.timing()) as transport:
        assert isinstance(refusal(transport), ServiceBusy)
    assert time.pauses == [4, 4]


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("7", 7.0),
        ("0", 0.2),
        ("Tue, 15 Sep 2026 12:00:30 GMT", 30.0),
        ("Tue, 15 Sep 2026 11:00:00 GMT", 0.2),
        ("?", 0.2),
    ],
)
def test_retry_after_is_honoured(
    server: Scripted, transport: Transport, time: FakeTime, asked: str, pause: float
) -> None:
    server.replies([Reply(429, headers={"Retry-After": asked}), GOOD])
    assert count(transport) == 3
    assert time.pauses == [pause]


def test_retry_after_beyond_the_total_time_is_not_waited_for(
    server: Scripted, transport: Transport, time: FakeTime
) -> None:
    server.replies([Reply(429, headers={"Retry-After": "86400"})])
    error = refusal(transport)
    assert (error.status, error.retry_after, time.pauses) == (429, 86400.0, [])
    assert "credits" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, KeyRefused), (404, NotFound), (409, Conflict)]
    + [(status, RequestRefused) for status in (302, 400, 402, 403, 405, 413, 422)],
)
def test_refusals_are_final(
    server: Scripted, transport: Transport, time: FakeTime, status: int, kind: type[DarkroomError]
) -> None:
    server.replies([Reply(status, b'{"error": "because\\nof this"}')])
    error = refusal(transport)
    assert type(error) is kind
    assert not is_transient(error)
    assert (error.status, error.excerpt, len(server.seen), time.pauses) == (status, "because of this", 1, [])
    assert ("ROBOFLOW_API_KEY" if status == 401 else "because of this") in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"error": {"deep": 1}}',
        b"{}",
        b"[" * 100_000,
        b'{"error": "half a pair: \\ud800"}',
    ],
    ids=["html", "empty", "null", "list", "string", "bytes", "nested", "object", "deep", "surrogate"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "no-such-charset"])
def test_error_body_never_raises(server: Scripted, transport: Transport, body: bytes, encoding: str) -> None:
    server.replies([Reply(400, body, {"Content-Type": f"text/html; charset={encoding}"})])
    error = refusal(transport)
    assert type(error) is RequestRefused
    assert len(str(error).encode()) < 2000
    assert "\n" not in str(error)


def test_redirect_is_not_followed(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(307, headers={"Location": f"{server.url}/elsewhere"})])
    assert refusal(transport).status == 307
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "bad",
    [
        Reply(body=b'{"count": 3}', cut=5),
        Reply(body=HTML),
        Reply(body=b'{"count": '),
        Reply(body=b'{"other": 3}'),
        Reply(body=b""),
        Reply(reset=True),
        Reply(raw=b"no http at all\r\n\r\n"),
        Reply(raw=b""),
        Reply(body=gzip.compress(b'{"count": 3}')[:-9] + b"garbage!!", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["cut", "html", "half", "other", "empty", "reset", "garbage", "closed", "encoding"],
)
def test_unreadable_answer_is_transient(server: Scripted, transport: Transport, time: FakeTime, bad: Reply) -> None:
    server.replies([bad, GOOD])
    assert count(transport) == 3
    assert len(time.pauses) == 1


def test_unreadable_answer_names_the_field_not_the_value(server: Scripted, time: FakeTime) -> None:
    server.answers({"count": "many secrets"})
    with Transport(server.url, SecretStr(KEY), RetryPolicy(attempts=1), timing=time.timing()) as transport:
        error = refusal(transport)
    assert isinstance(error, ConnectionFailed)
    assert "count: " in str(error)
    assert "secrets" not in str(error)


def test_slow_answer_is_transient(server: Scripted, time: FakeTime) -> None:
    silence = threading.Event()
    server.replies([Reply(hold=silence), GOOD])
    with Transport(server.url, SecretStr(KEY), limits=Limits(read=0.05), timing=time.timing()) as transport:
        assert count(transport) == 3
    silence.set()
    assert len(time.pauses) == 1


def test_server_that_is_down_is_transient(time: FakeTime) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with Transport(url, SecretStr(KEY), RetryPolicy(attempts=2), timing=time.timing()) as transport:
        error = refusal(transport)
    assert isinstance(error, ConnectionFailed)
    assert "refused" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "host:80",
        "ftp://host",
        "http://",
        "https:///path",
        "http://[::1",
        "http://[x]/",
        "file:///etc",
        "http://host/?api_key=rf-secret-4711",
        "http://host/#part",
    ],
)
def test_base_url_that_is_none_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        Transport(url, SecretStr(KEY))
    assert KEY not in str(caught.value)


def test_base_url_with_a_login_is_refused_without_showing_it() -> None:
    with pytest.raises(BadInput, match="holds a login") as caught:
        Transport("http://user:secretpw@127.0.0.1:9", SecretStr(KEY))
    assert "secretpw" not in str(caught.value)


def test_base_url_with_a_bad_port_is_bad_input() -> None:
    with Transport("http://127.0.0.1:port", SecretStr(KEY)) as transport, pytest.raises(BadInput, match="port"):
        count(transport)


def test_key_travels_as_a_parameter_and_shows_nowhere(
    server: Scripted, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"the key {KEY} in /x?api_key={KEY}&a=1 is wrong".encode()
    server.replies([Reply(400, echo), Reply(400, json.dumps({"error": {"key": KEY}}).encode()), Reply(401, echo)])
    server.replies([Reply(503, echo), Reply(reset=True), Reply(body=echo), GOOD])
    messages: list[str] = []
    with Transport(server.url, SecretStr(KEY), RetryPolicy(attempts=1), timing=time.timing()) as transport:
        for _ in range(6):
            error = refusal(transport)
            messages += [str(error), str(error.excerpt), repr(error)]
        count(transport)
    assert all(seen.query["api_key"] == KEY for seen in server.seen)
    assert not [text for text in messages if KEY in text]
    assert "HTTP Request: GET" in caplog.text
    assert KEY not in caplog.text


def test_get_leaves_absent_parameters_out(server: Scripted, transport: Transport) -> None:
    server.replies([GOOD])
    transport.get("/count", CountAnswer, partName=None, other=5)
    assert server.seen[0].query == {"other": "5", "api_key": KEY}


def test_get_uses_one_connection(server: Scripted, transport: Transport) -> None:
    server.answers(*[{"workspace": "w"}] * 3)
    assert {transport.get("/", WorkspaceAnswer).workspace for _ in range(3)} == {"w"}
    assert len({seen.connection for seen in server.seen}) == 1


def test_base_url_may_end_in_a_slash(server: Scripted, time: FakeTime) -> None:
    server.replies([GOOD])
    with Transport(server.url + "/", SecretStr(KEY), timing=time.timing()) as transport:
        count(transport)
    assert server.seen[0].path == "/count"


@pytest.mark.parametrize("end", [{}, {"nextPageToken": None}, {"nextPageToken": ""}], ids=["missing", "null", "empty"])
def test_pages_end_without_a_token(server: Scripted, transport: Transport, end: dict[str, str | None]) -> None:
    server.answers(
        {"shards": [], "nextPageToken": "a b&c"}, {"shards": [], "nextPageToken": "2"}, {"shards": [], **end}
    )
    assert len(list(transport.pages("/shards", ShardsPage, severity="error"))) == 3
    assert [seen.query.get("nextPageToken") for seen in server.seen] == [None, "a b&c", "2"]
    assert all(seen.query["severity"] == "error" and seen.query["pageSize"] == "1000" for seen in server.seen)


def test_pages_are_asked_for_as_they_are_used(server: Scripted, transport: Transport) -> None:
    server.answers(*[{"batches": [], "nextPageToken": "more"}] * 5)
    pages = transport.pages("/batches", BatchesPage)
    next(pages)
    next(pages)
    assert len(server.seen) == 2


def test_pages_survive_a_bad_answer_in_the_middle(server: Scripted, transport: Transport) -> None:
    server.answers({"shards": [], "nextPageToken": "2"})
    server.replies([Reply(502, HTML), Reply(body=b'{"shards": []}', cut=4)])
    server.answers({"shards": []})
    assert len(list(transport.pages("/shards", ShardsPage))) == 2
    assert [seen.query.get("nextPageToken") for seen in server.seen] == [None, "2", "2", "2"]


def test_post_sends_the_same_body_again(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(500), GOOD])
    transport.post("/jobs/j", CountAnswer, json={"a": [1, None]}, name="n")
    assert [seen.json() for seen in server.seen] == [{"a": [1, None]}] * 2
    assert server.seen[1].query == {"name": "n", "api_key": KEY}


def test_post_sends_the_same_file_again(server: Scripted, transport: Transport) -> None:
    server.replies([Reply(reset=True), GOOD])
    transport.post("/upload", CountAnswer, files={"a.jpg": ("a.jpg", b"\xff\xd8 bytes")})
    for seen in server.seen:
        assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
        assert b'name="a.jpg"; filename="a.jpg"' in seen.body
        assert b"\r\n\r\n\xff\xd8 bytes\r\n" in seen.body
