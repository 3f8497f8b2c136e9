import pytest

from tasks.transfer.refusals import MOST_TOLD, Refusals, plain_name
from tasks.transfer.unpack import UnsafeArchive


@pytest.mark.parametrize("name", ["a.jsonl", ".hidden", "a b", "日本.tar.gz", "part", "a.part.jsonl", "n" * 255])
def test_plain_name_is_taken(name: str) -> None:
    assert plain_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "/x", "a/b", "./x", "a/", "a\\b", "C:x", "a\0b", "\ud800", "n" * 256),
        *("x.part", "x.part.json", ".part"),
    ],
)
def test_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(UnsafeArchive, match="is refused"):
        plain_name(name)


def test_refusals_tell_the_first_and_count_all() -> None:
    told: list[str] = []
    refusals = Refusals(told.append)
    for number in range(MOST_TOLD + 5):
        refusals.add(f"number {number}")
    refusals.conclude()
    assert refusals.count == MOST_TOLD + 5
    assert told[0] == "left out of the export: number 0"
    assert told[MOST_TOLD:] == ["left out of the export: 5 more"]


def test_few_refusals_need_no_conclusion() -> None:
    told: list[str] = []
    refusals = Refusals(told.append)
    refusals.add("one")
    refusals.conclude()
    assert len(told) == 1
