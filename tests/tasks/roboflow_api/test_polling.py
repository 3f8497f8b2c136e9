from collections.abc import Callable

import pytest

from tasks.core.errors import ConnectionFailed, ServiceBusy, Terminal
from tasks.roboflow_api.polling import Pace, poll_until
from tests.fake_time import FakeTime

BAD = ServiceBusy("bad look")


def looks(*states: object) -> Callable[[], object]:
    """Gives or raises one after the other, the last for ever."""
    queue = list(states)

    def look() -> object:
        state = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(state, Exception):
            raise state
        return state

    return look


def wait(look: Callable[[], object], time: FakeTime, *, deadline: float = 100, pace: Pace | None = None) -> object:
    return poll_until(look, lambda state: state == "done", deadline=deadline, pace=pace or Pace(), timing=time.timing())


def test_poll_looks_at_once() -> None:
    time = FakeTime()
    assert wait(looks("done"), time) == "done"
    assert time.pauses == []


def test_poll_ends_late_but_finished() -> None:
    time = FakeTime()

    def look() -> str:
        time.seconds += 500
        return "done"

    assert wait(look, time, deadline=1) == "done"


def test_poll_looks_once_more_at_the_deadline() -> None:
    time = FakeTime()
    assert wait(lambda: "done" if time.seconds >= 3 else "running", time, deadline=3, pace=Pace(first=2)) == "done"
    assert time.pauses == [2, 1]


def test_poll_gives_none_after_the_deadline() -> None:
    time = FakeTime()
    assert wait(looks("running"), time, deadline=10, pace=Pace(first=4, factor=1)) is None
    assert time.pauses == [4, 4, 2]


def test_poll_does_not_end_on_a_bad_look_at_the_deadline() -> None:
    time = FakeTime()
    assert wait(looks("running", BAD, BAD, "done"), time, deadline=1, pace=Pace(first=1, factor=1)) == "done"
    assert time.pauses == [1, 1, 1]


def test_poll_after_the_deadline_ends_with_bad_looks_in_a_row() -> None:
    time = FakeTime()
    with pytest.raises(ServiceBusy):
        wait(looks("running", BAD), time, deadline=1, pace=Pace(first=1, factor=1, bad_looks=2))
    assert time.pauses == [1, 1, 1]


def test_poll_bears_bad_looks() -> None:
    time = FakeTime()
    assert wait(looks(BAD, BAD, "running", BAD, BAD, "done"), time, pace=Pace(bad_looks=2)) == "done"


def test_poll_raises_after_too_many_bad_looks() -> None:
    calls: list[int] = []

    def look() -> object:
        calls.append(1)
        raise ConnectionFailed("gone")

    with pytest.raises(ConnectionFailed):
        wait(look, FakeTime(), pace=Pace(bad_looks=3))
    assert len(calls) == 4


def test_poll_passes_terminal_errors_on() -> None:
    time = FakeTime()
    with pytest.raises(Terminal):
        wait(looks("running", Terminal("no")), time)
    assert len(time.pauses) == 1


def test_poll_grows_patient() -> None:
    time = FakeTime()
    wait(looks("a", "a", "a", "a", "b", "b", "done"), time, pace=Pace(first=1, factor=2, longest=4))
    assert time.pauses == [1, 2, 4, 4, 4, 4]


def test_poll_tells_every_change_once() -> None:
    time = FakeTime()
    seen: list[object] = []
    poll_until(
        looks("a", "a", BAD, "a", "b", "b", "a", "done"),
        lambda state: state == "done",
        deadline=100,
        pace=Pace(),
        timing=time.timing(),
        on_change=seen.append,
    )
    assert seen == ["a", "b", "a", "done"]


def test_poll_honours_what_the_service_asks_to_wait() -> None:
    time = FakeTime()
    asked = ServiceBusy("too many requests", retry_after=900)
    assert wait(looks(asked, "running", "done"), time, deadline=2000, pace=Pace(first=1, factor=1)) == "done"
    assert time.pauses == [900, 1]
