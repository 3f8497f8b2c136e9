import tracemalloc
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.plan import ANSWERS, NO_FAULTS, Fault, FaultPlan
from tests.chaos.proxy import FaultProxy
from tests.chaos.upstream import PIECE, Upstream, upstream

BIG = 50 * 1024 * 1024


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def proxy(server: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as running:
        yield running
    assert running.problems == []


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, timeout=10, trust_env=False) as running:
        yield running


def always(fault: Fault) -> FaultPlan:
    return FaultPlan(share=1.0, kinds=(fault,), max_in_a_row=1_000)


def pieces() -> Iterator[bytes]:
    for _ in range(BIG // len(PIECE)):
        yield PIECE


def test_proxy_passes_calls_on_with_the_clients_host(server, proxy, client):
    answer = client.put("/blob/a?signature=secret", content=b"12345")
    assert (answer.status_code, answer.text) == (200, "5")
    assert server.seen[0].host == proxy.url.removeprefix("http://")
    assert server.seen[0].path == "/blob/a?signature=secret"


def test_proxy_records_calls_without_their_query(proxy, client):
    client.put("/blob/a?signature=secret", content=b"12345")
    (call,) = proxy.calls
    assert (call.method, call.path, call.fault, call.status, call.answered) == (
        "PUT",
        "/blob/a",
        None,
        200,
        200,
    )
    assert (call.sent, call.received) == (5, 1)


def test_proxy_collects_signatures(proxy, client):
    for name in ("signature", "X-Amz-Signature", "X-Goog-Signature", "sig"):
        client.put("/blob/1", params={name: f"{name}'s", "expires": "1"})
    client.get("/blob/1", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=1, SignedHeaders=host, Signature=0a"})
    client.get("/blob/1", headers={"Authorization": "Bearer 1"})
    assert proxy.signatures == {"signature's", "X-Amz-Signature's", "X-Goog-Signature's", "sig's", "0a"}


def test_proxy_keeps_the_bodies_that_are_asked_for(server):
    with FaultProxy(server.url, keeps=lambda method, path: path == "/blob/kept") as proxy:
        with httpx.Client(base_url=proxy.url, trust_env=False) as client:
            client.put("/blob/kept", content=b"one")
            client.put("/blob/other", content=b"other")
            client.put("/blob/kept", content=b"two")
        assert proxy.bodies == [b"one", b"two"]


def test_signed_urls_of_the_upstream_lead_back_through_the_proxy(proxy, client):
    assert len(client.get(client.get("/signed").text).content) == 5
    assert [call.path for call in proxy.calls] == ["/signed", "/blob/5"]


def test_proxy_keeps_the_clients_connection(proxy, client):
    for _ in range(3):
        client.get("/blob/3")
    assert [call.received for call in proxy.calls] == [3, 3, 3]
    assert len({call.connection for call in proxy.calls}) == 1


def test_proxy_passes_head_and_chunked_answers_on(client):
    assert client.head("/blob/9").headers["content-length"] == "9"
    assert len(client.get("/chunked/200000").content) == 200_000


@pytest.mark.parametrize("fault", [fault for fault in ANSWERS if fault is not Fault.REFUSED])
def test_client_gets_the_injected_answer(server, proxy, client, fault):
    proxy.plan = always(fault)
    answer = client.put("/blob/a", content=b"12345")
    expected = ANSWERS[fault]
    assert (answer.status_code, answer.content) == (expected.status, expected.body)
    assert answer.headers.get("retry-after") == dict(expected.headers).get("Retry-After")
    assert [seen.received for seen in server.seen] == ([5] if expected.forwarded else [])
    assert proxy.calls[0].done_upstream is expected.forwarded


def test_refusal_quotes_the_url_with_its_signature(proxy, client):
    proxy.plan = always(Fault.REFUSED)
    answer = client.put("/blob/a?expires=1&signature=secret", content=b"12345")
    assert answer.status_code == 400
    assert f"{proxy.url}/blob/a?expires=1&signature=secret" in answer.json()["error"]
    assert proxy.signatures == {"secret"}


def test_connection_survives_an_injected_answer(proxy, client):
    proxy.plan = always(Fault.UNAVAILABLE_HTML)
    client.put("/blob/a", content=pieces())
    proxy.plan = NO_FAULTS
    assert client.put("/blob/a", content=b"12345").text == "5"


def test_head_gets_an_injected_answer_without_a_body(proxy, client):
    proxy.plan = always(Fault.UNAVAILABLE)
    assert client.head("/blob/9").status_code == 503


def test_reset_before_forwarding_hides_the_call_from_the_upstream(server, proxy, client):
    proxy.plan = always(Fault.RESET_BEFORE)
    with pytest.raises(httpx.NetworkError):
        client.get("/blob/3")
    assert server.seen == []


def test_reset_after_forwarding_loses_the_answer_only(server, proxy, client):
    proxy.plan = always(Fault.RESET_AFTER)
    with pytest.raises(httpx.NetworkError):
        client.put("/blob/a", content=b"12345")
    assert [seen.received for seen in server.seen] == [5]
    assert (proxy.calls[0].status, proxy.calls[0].answered) == (200, None)
    assert proxy.completed("PUT") == {"/blob/a": 1}


@pytest.mark.parametrize("path", ["/blob/100000", "/chunked/100000"])
def test_cut_response_ends_in_the_middle_of_its_body(proxy, client, path):
    proxy.plan = always(Fault.RESPONSE_CUT)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without"):
        client.get(path)
    assert 0 < proxy.calls[0].received < 100_000


@pytest.mark.parametrize("content", [b"x" * 100_000, [b"x" * 50_000, b"x" * 50_000]], ids=["length", "chunked"])
def test_cut_request_reaches_the_upstream_broken(server, proxy, client, content):
    proxy.plan = always(Fault.REQUEST_CUT)
    # A client that is still writing when the reset comes may notice only the end of the connection.
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        client.put("/blob/a", content=content)
    proxy.plan = NO_FAULTS
    assert client.put("/blob/a", content=b"12345").text == "5"
    (broken,) = [seen for seen in server.seen if seen.broken]
    assert 0 <= broken.received < 100_000
    assert proxy.completed("PUT") == {"/blob/a": 1}


@pytest.mark.parametrize(
    ("fault", "becomes"),
    [(Fault.REQUEST_CUT, Fault.RESET_BEFORE), (Fault.RESPONSE_CUT, Fault.RESET_AFTER)],
)
def test_cut_of_a_missing_body_becomes_a_reset(proxy, client, fault, becomes):
    proxy.plan = always(fault)
    with pytest.raises(httpx.NetworkError):
        client.get("/blob/0")
    assert proxy.calls[0].fault is becomes


def test_faults_in_a_row_on_one_path_are_bounded(proxy, client):
    proxy.plan = FaultPlan(share=1.0, kinds=(Fault.SERVER_ERROR,), max_in_a_row=2)
    assert [client.get("/blob/1").status_code for _ in range(6)] == [500, 500, 200, 500, 500, 200]
    assert client.get("/blob/2").status_code == 500


def test_faults_leave_calls_alone_that_do_not_match(proxy, client):
    proxy.plan = FaultPlan(share=1.0, kinds=(Fault.SERVER_ERROR,), matching=lambda method, path: method == "PUT")
    assert client.get("/blob/1").status_code == 200
    assert client.put("/blob/1").status_code == 500


def test_faults_come_in_the_same_order_for_the_same_seed(proxy, client):
    kinds = (Fault.REQUEST_TIMEOUT, Fault.SERVER_ERROR, Fault.BAD_GATEWAY, Fault.UNAVAILABLE)
    proxy.plan = FaultPlan(seed=5, share=0.5, kinds=kinds)
    first = [client.get("/blob/1").status_code for _ in range(40)]
    proxy.forget()
    assert [client.get("/blob/1").status_code for _ in range(40)] == first
    assert {200, 408, 500, 502, 503} == set(first)


def test_big_bodies_stream_in_flat_memory(server, proxy, client):
    tracemalloc.start()
    try:
        assert client.put("/blob/big", content=pieces()).text == str(BIG)
        with client.stream("GET", f"/blob/{BIG}") as answer:
            assert sum(len(piece) for piece in answer.iter_raw()) == BIG
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_upstream_that_is_down_is_a_reset(proxy, client):
    with FaultProxy("http://127.0.0.1:9") as lost, pytest.raises(httpx.NetworkError):
        client.get(f"{lost.url}/blob/1")
    assert lost.calls[0].error is not None
    assert lost.problems == []
