import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.plan import KillAt, Moment
from tests.chaos.proxy import FaultProxy, armed
from tests.chaos.upstream import Upstream, upstream

PUTTER = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
for number in range(3):
    connection.request("PUT", f"/blob/{number}", body=b"x" * 500_000)
    connection.getresponse().read()
    connection.request("GET", "/blob/500000")
    connection.getresponse().read()
    print(number, flush=True)
"""


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def proxy(server: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as running:
        yield running


def run_and_kill(proxy: FaultProxy, method: str, moment: Moment) -> tuple[int, str]:
    """Starts the client and kills it at its second call with this method; gives its status and output."""
    address = proxy.url.removeprefix("http://").split(":")
    child = subprocess.Popen([sys.executable, "-c", PUTTER, *address], stdout=subprocess.PIPE, text=True)
    kill = KillAt(lambda: child, 1, moment, lambda called, path: called == method)
    with child, armed(proxy, kill):
        output, _ = child.communicate(timeout=10)
    return child.returncode, output


@pytest.mark.parametrize(
    ("method", "moment", "completed"),
    [
        ("PUT", Moment.BEFORE_FORWARD, 1),
        ("PUT", Moment.MID_REQUEST_BODY, 1),
        ("PUT", Moment.AFTER_UPSTREAM_ANSWER, 2),
        ("PUT", Moment.MID_RESPONSE, 2),
        ("GET", Moment.MID_RESPONSE, 2),
    ],
)
def test_kill_ends_the_child_at_its_moment(proxy, method, moment, completed):
    status, output = run_and_kill(proxy, method, moment)
    assert (status, output) == (-signal.SIGKILL, "0\n")
    assert proxy.killed.wait(5)
    last = proxy.calls[-1]
    assert (last.method, last.killed) == (method, moment)
    assert sum(proxy.completed(method).values()) == completed
    assert proxy.problems == []


def test_kill_in_the_body_leaves_the_upstream_a_broken_upload(server, proxy):
    run_and_kill(proxy, "PUT", Moment.MID_REQUEST_BODY)
    assert proxy.calls[-1].sent == 250_000


def test_kill_in_a_missing_body_falls_before_the_call(proxy):
    status, _ = run_and_kill(proxy, "GET", Moment.MID_REQUEST_BODY)
    assert status == -signal.SIGKILL
    assert proxy.calls[-1].killed is Moment.BEFORE_FORWARD


def test_kill_that_never_comes_due_kills_nobody(proxy):
    status, output = run_and_kill(proxy, "DELETE", Moment.BEFORE_FORWARD)
    assert (status, output) == (0, "0\n1\n2\n")
    assert not proxy.killed.is_set()
