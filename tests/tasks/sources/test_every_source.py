"""One suite for every place that holds media, each a real server; its objects are put there by others' code."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.errors import BadInput
from tasks.sources.base import SourceChanged
from tasks.sources.bucket import BucketSource
from tasks.sources.patterns import parse_selection
from tasks.sources.registry import open_bucket, open_source
from tests.tasks.sources.contents import FILES, fill, hostile, keys, listed, read
from tests.tasks.sources.test_patterns import CASES, TREE

MANY = 1005
"""More than a page of any service that pages by 1,000."""


def selected(place, *paths: str) -> dict[str, set[str]]:
    """The whole keys that each path selects; where folders exist by themselves, one that does not is an error."""
    bucket = None if place.kind in FILES else open_bucket(place.url)[0]
    found: dict[str, set[str]] = {}
    for path in paths:
        selection = parse_selection(path)
        try:
            source = BucketSource(bucket, selection) if bucket else open_source(f"{place.url}/{path}")
            found[path] = {selection.root + item.key for item in source.list()}
        except BadInput:
            assert place.kind in FILES
            found[path] = set()
    return found


@pytest.mark.parametrize("path", ["day 1", "day 1/"])
def test_list_gives_all_below_a_path(place, path):
    fill(place, "day 1/a.jpg", "day 1/x/y/b.txt", "day 10/c.jpg", "d.jpg")
    assert sorted(keys(f"{place.url}/{path}")) == ["a.jpg", "x/y/b.txt"]


@pytest.mark.parametrize("ending", ["", "/"])
def test_list_gives_all_of_a_place(place, ending):
    fill(place, "a.jpg", "x/b.jpg")
    assert sorted(keys(place.url + ending)) == ["a.jpg", "x/b.jpg"]


def test_list_gives_the_one_object_of_that_name(place):
    fill(place, "x/a.jpg", "x/a.jpgs", "x/b.jpg")
    assert keys(f"{place.url}/x/a.jpg") == ["a.jpg"]


def test_list_tells_two_namesakes_apart(place):
    fill(place, "a/1.jpg", "b/1.jpg", "1.jpg")
    source = open_source(place.url)
    found = {item.key: read(source, item) for item in source.list()}
    assert found == {key: key.encode() for key in ("1.jpg", "a/1.jpg", "b/1.jpg")}


def test_list_goes_over_pages_in_the_same_order_each_time(place, monkeypatch):
    if place.kind == "azure":  # whose pages hold 5,000
        monkeypatch.setattr("tasks.sources.azure_listing.PAGE", 1000)
    fill(place, *(f"p/{number:04}.jpg" for number in range(MANY)))
    found = keys(f"{place.url}/p")
    assert sorted(found) == [f"{number:04}.jpg" for number in range(MANY)]
    assert keys(f"{place.url}/p") == found


def test_list_of_nothing_is_empty(place):
    fill(place, "a/1.jpg")
    assert keys(f"{place.url}/a/*.png") == []
    assert selected(place, "no/such/**/*.jpg", "no/such") == {"no/such/**/*.jpg": set(), "no/such": set()}


def test_list_tells_size_and_time(place):
    before = datetime.now(UTC) - timedelta(seconds=2)
    place.put("a.jpg", b"x" * 1234)
    place.put("b.jpg", b"")
    items = {item.key: item for item in open_source(place.url).list()}
    assert {key: item.size for key, item in items.items()} == {"a.jpg": 1234, "b.jpg": 0}
    for item in items.values():
        assert item.modified is not None
        assert item.modified.tzinfo is UTC
        assert before <= item.modified <= datetime.now(UTC) + timedelta(seconds=2)


def test_list_tells_versions_apart(cloud):
    cloud.put("a.jpg", b"first")
    (first,) = listed(cloud.url)
    assert listed(cloud.url) == [first]
    cloud.put("a.jpg", b"other")
    (other,) = listed(cloud.url)
    assert first.etag
    assert other.etag not in (None, first.etag)


def test_list_gives_no_folder_s_own_marker(cloud):
    cloud.put("day 1/", b"")
    fill(cloud, "day 1/a.jpg")
    assert keys(f"{cloud.url}/day 1") == ["a.jpg"]
    assert keys(cloud.url) == ["day 1/a.jpg"]


def test_list_selects_as_the_table_says(place):
    fill(place, *TREE)
    found = selected(place, *(case.path for case in CASES))
    assert [(case.path, sorted(found[case.path])) for case in CASES if found[case.path] != case.selects] == []


def test_source_knows_whether_the_pattern_names_the_files(place):
    fill(place, "a/1.jpg")
    names = [open_source(f"{place.url}/{path}").by_extension for path in ("a", "*/1.jpg", "*", "a/*.jpg", "**/*.dat")]
    assert names == [True, False, True, False, False]


def test_source_is_told_by_the_url_that_it_was_given(place):
    fill(place, "a/1.jpg")
    for url in (f"{place.url}/a", f"{place.url}/*/1.jpg"):
        assert open_source(url).url == url


def test_open_gives_the_bytes_from_an_offset_on(place):
    data = bytes(range(256)) * 5000
    place.put("x/a.jpg", data)
    place.put("x/b.jpg", b"")
    source = open_source(f"{place.url}/x")
    whole, empty = sorted(source.list(), key=lambda item: item.key)
    assert [read(source, whole, offset) for offset in (0, 1, 70_000)] == [data, data[1:], data[70_000:]]
    assert read(source, whole, len(data)) == b""
    assert read(source, empty) == b""


def test_open_reads_piece_by_piece(place):
    data = bytes(range(256)) * 5000
    place.put("a.jpg", data)
    source = open_source(place.url)
    (item,) = source.list()
    with source.open(item) as file:
        pieces = [file.read(100_000), file.read(1), file.read(), file.read(1)]
    assert pieces == [data[:100_000], data[100_000:100_001], data[100_001:], b""]


def test_open_refuses_what_is_gone_or_has_changed(place):
    fill(place, "gone.jpg", "kept.jpg", "longer.jpg")
    source = open_source(place.url)
    items = {item.key: item for item in source.list()}
    place.delete("gone.jpg")
    place.put("longer.jpg", b"longer than it was before")
    for key in ("gone.jpg", "longer.jpg"):
        with pytest.raises(SourceChanged):
            read(source, items[key])
        with pytest.raises(SourceChanged):
            read(source, items[key], 3)
    assert read(source, items["kept.jpg"]) == b"kept.jpg"


def test_open_refuses_another_version_of_the_same_size(cloud):
    cloud.put("a.jpg", b"first")
    source = open_source(cloud.url)
    (item,) = source.list()
    cloud.put("a.jpg", b"other")
    with pytest.raises(SourceChanged):
        read(source, item)


def test_hostile_keys_are_listed_and_opened(place):
    names = hostile(place)
    fill(place, *names)
    source = open_source(place.url)
    assert {item.key: read(source, item) for item in source.list()} == {name: name.encode() for name in names}


def test_place_that_is_not_there_is_bad_input(place):
    with pytest.raises(BadInput, match="nowhere") as caught:
        listed(f"{place.wrong_url}/a")
    message = str(caught.value)
    assert "\n" not in message
    assert [secret for secret in place.environment.values() if len(secret) > 30 and secret in message] == []
