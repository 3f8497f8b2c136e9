"""Objects read range by range."""

import pytest

from tasks.core.errors import ConnectionFailed
from tasks.sources.base import SourceChanged
from tasks.sources.ranged import open_ranged

CONTENT = bytes(range(250))


class Ranges:
    """The ranges that were asked for, and what is given for them."""

    def __init__(self, most: int = 1000) -> None:
        self.asked: list[tuple[int, int]] = []
        self._most = most

    def __call__(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return CONTENT[start : min(stop, start + self._most)]


@pytest.mark.parametrize("offset", [0, 1, 99, 100, 249, 250])
def test_file_holds_all_from_its_offset_on(offset: int) -> None:
    ranges = Ranges()
    with open_ranged(ranges, len(CONTENT), offset, piece=100) as file:
        assert file.read() == CONTENT[offset:]
    assert all(0 < stop - start <= 100 for start, stop in ranges.asked)


def test_file_read_in_small_parts_asks_for_each_range_once() -> None:
    ranges = Ranges()
    with open_ranged(ranges, len(CONTENT), piece=100) as file:
        parts = list(iter(lambda: file.read(7), b""))
    assert b"".join(parts) == CONTENT
    assert ranges.asked == [(0, 100), (100, 200), (200, 250)]


def test_range_that_comes_short_is_asked_for_again_from_there() -> None:
    ranges = Ranges(most=60)
    with open_ranged(ranges, len(CONTENT), piece=100) as file:
        assert file.read() == CONTENT
    assert ranges.asked[:2] == [(0, 100), (60, 160)]


def test_body_that_stops_coming_is_no_end_of_file() -> None:
    with pytest.raises(ConnectionFailed, match="only 250 of 300 B"), open_ranged(Ranges(), 300) as file:
        file.read()


def test_object_that_is_gone_shows_on_opening() -> None:
    def gone(start: int, stop: int) -> bytes:
        raise SourceChanged("is not there any more")

    for size in (0, 10):
        with pytest.raises(SourceChanged):
            open_ranged(gone, size)
