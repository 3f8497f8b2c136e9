from datetime import UTC, datetime

import pytest

from tasks.core.errors import ConnectionFailed, DarkroomError, ServiceBusy, Terminal, UrlExpired
from tasks.roboflow_api.retrying import RetryPolicy, Timing, parse_retry_after, retry
from tests.fake_time import FakeTime

NOW = datetime(2026, 9, 15, 12, 0, tzinfo=UTC)


class Failing:
    """Raises each of its errors once, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_retry_returns_what_the_call_gives_at_last() -> None:
    time = FakeTime()
    call = Failing(ConnectionFailed("a"), ServiceBusy("b"), UrlExpired("c"))
    assert retry(call, RetryPolicy(first=1, factor=3, longest=5), time.timing()) == "done"
    assert time.pauses == [1, 3, 5]


@pytest.mark.parametrize("error", [Terminal("no"), ValueError("no"), KeyError("no")])
def test_retry_passes_other_errors_on(error: Exception) -> None:
    time, call = FakeTime(), Failing(error)
    with pytest.raises(type(error)):
        retry(call, RetryPolicy(), time.timing())
    assert (call.calls, time.pauses) == (1, [])


def test_retry_raises_the_last_error() -> None:
    call = Failing(ConnectionFailed("first"), ServiceBusy("last"))
    with pytest.raises(ServiceBusy, match="last"):
        retry(call, RetryPolicy(attempts=2), FakeTime().timing())


def test_retry_asks_its_caller_what_may_pass() -> None:
    def same_url_may_pass(error: DarkroomError) -> bool:
        return not isinstance(error, UrlExpired)

    call = Failing(ConnectionFailed("a"), UrlExpired("b"))
    with pytest.raises(UrlExpired):
        retry(call, RetryPolicy(), FakeTime().timing(), again=same_url_may_pass)
    assert call.calls == 2


def test_retry_counts_the_time_of_the_calls_themselves() -> None:
    time = FakeTime()

    def slow() -> None:
        time.seconds += 100
        raise ConnectionFailed("timed out")

    with pytest.raises(ConnectionFailed):
        retry(slow, RetryPolicy(total=250, first=1, factor=1), time.timing())
    assert time.seconds == 302


def test_retry_waits_as_long_as_the_service_asks() -> None:
    time = FakeTime()
    call = Failing(ServiceBusy("a", retry_after=60), ServiceBusy("b", retry_after=0.01))
    retry(call, RetryPolicy(first=1, factor=2, longest=15), time.timing())
    assert time.pauses == [60, 2]


def test_retry_does_not_wait_for_ever() -> None:
    for asked in (float("inf"), 1e300):
        time, call = FakeTime(), Failing(ServiceBusy("a", retry_after=asked))
        with pytest.raises(ServiceBusy):
            retry(call, RetryPolicy(), time.timing())
        assert time.pauses == []


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 5.0), (0.5, 10.0), (1.0, 15.0)])
def test_pause_is_spread(jitter: float, pause: float) -> None:
    assert RetryPolicy(first=10, longest=10).pause(1, None, jitter) == pause


def test_pause_stays_bounded_after_many_tries() -> None:
    assert RetryPolicy(longest=15).pause(900, None, 0.5) == 15


def test_policy_rides_out_a_minute_by_default() -> None:
    time = FakeTime()
    with pytest.raises(ServiceBusy):
        retry(Failing(*[ServiceBusy("down")] * 50), RetryPolicy(), time.timing())
    assert 60 < time.seconds < 300


def test_timing_is_real_by_default() -> None:
    timing = Timing()
    before = timing.clock()
    timing.sleep(0)
    assert timing.clock() >= before
    assert 0 <= timing.chance() < 1
    assert timing.now().tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("12", 12.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", float("inf")),
        ("Tue, 15 Sep 2026 12:01:00 GMT", 60.0),
        ("Tue, 15 Sep 2026 14:01:00 +0200", 60.0),
        ("Tue, 15 Sep 2026 11:59:00 GMT", 0.0),
        ("Tue, 15 Sep 2026 12:01:00 -0000", None),
        ("Tue, 99 Sep 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_parsed(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds
