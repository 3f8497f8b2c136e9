import threading
from collections.abc import Iterator

import pytest

from tasks.core.threads import map_bounded


def test_map_gives_every_result() -> None:
    assert sorted(map_bounded(lambda number: number * 2, range(100), 4)) == list(range(0, 200, 2))
    assert list(map_bounded(str, [], 4)) == []


def test_map_works_on_as_many_at_once_as_it_may() -> None:
    meeting = threading.Barrier(3)

    def meet(number: int) -> int:
        meeting.wait(10)
        return number

    assert sorted(map_bounded(meet, range(9), 3)) == list(range(9))


def test_map_gives_results_as_they_come() -> None:
    release = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            release.wait(10)
        return number

    results = map_bounded(work, range(3), 2)
    assert next(results) == 1
    assert next(results) == 2
    release.set()
    assert list(results) == [0]


def test_map_draws_no_item_before_a_worker_is_free() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    results = map_bounded(lambda number: number, items(), 2)
    for _ in range(10):
        next(results)
    assert len(drawn) <= 14
    results.close()  # type: ignore[attr-defined]


def test_map_begins_nothing_after_an_error() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(map_bounded(work, range(1000), 2))
    assert max(begun) < 10


def test_map_passes_on_what_the_items_raise() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(map_bounded(str, items(), 2))


def test_map_waits_for_what_is_under_way_after_an_error() -> None:
    ended: list[int] = []
    failing = threading.Event()

    def work(number: int) -> None:
        if number == 1:
            failing.set()
            raise ValueError("one")
        failing.wait(10)
        ended.append(number)

    with pytest.raises(ValueError, match="one"):
        list(map_bounded(work, range(2), 2))
    assert ended == [0]


def test_map_leaves_what_hangs_when_it_is_interrupted() -> None:
    release = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_bounded(lambda _: release.wait(30), items(), 2, grace=0.01))
    assert not release.is_set()
    release.set()
