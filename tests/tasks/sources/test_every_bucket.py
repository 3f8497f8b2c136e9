"""One suite for the three cloud stores: signed URLs, which the emulator serves, and buckets as destinations."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.bucket import BucketSource
from tasks.sources.patterns import parse_selection
from tasks.sources.registry import open_bucket, open_source
from tests.tasks.sources.contents import fetch, fill, hostile, listed, read, signing

HOUR = 3600


class Watched:
    """A bucket that remembers below which beginnings it was listed."""

    def __init__(self, bucket) -> None:
        self._bucket = bucket
        self.prefixes: list[str] = []

    def list(self, prefix: str) -> Iterator[MediaObject]:
        self.prefixes.append(prefix)
        found: Iterator[MediaObject] = self._bucket.list(prefix)
        return found

    def __getattr__(self, name: str):
        return getattr(self._bucket, name)


def test_list_asks_for_no_more_than_the_fixed_beginning(cloud):
    fill(cloud, "2023/a.jpg", "2024-05/a.jpg", "2024-06/b.jpg", "2024/a.jpg", "2025/a.jpg")
    bucket, path = open_bucket(f"{cloud.url}/2024-*/a.jpg")
    watched = Watched(bucket)
    assert [item.key for item in BucketSource(watched, parse_selection(path)).list()] == ["2024-05/a.jpg"]
    assert watched.prefixes == ["2024-"]
    assert [item.key for item in bucket.list("2024-")] == ["2024-05/a.jpg", "2024-06/b.jpg"]


def test_object_of_a_place_that_is_gone_is_an_error_of_ours(cloud):
    fill(cloud, "1.jpg")
    (item,) = listed(cloud.url)
    with pytest.raises((BadInput, SourceChanged)):
        read(open_source(cloud.wrong_url), item)


def presigned(url: str, seconds: int = HOUR) -> dict[str, str]:
    """Keys and their URLs."""
    source = signing(url)
    items = list(source.list())
    urls = list(source.presign(iter(items), seconds))
    assert len(urls) == len(items)
    assert all(made.startswith(source.endpoint()) for made in urls)
    return {item.key: made for item, made in zip(items, urls, strict=True)}


def test_signed_urls_give_the_bytes(cloud):
    fill(cloud, *hostile(cloud))
    urls = presigned(cloud.url)
    got = {key: fetch(url) for key, url in urls.items()}
    assert {key: (answer.status_code, answer.content) for key, answer in got.items()} == {
        name: (200, name.encode()) for name in hostile(cloud)
    }


def test_signatures_hold_before_the_service(cloud):
    fill(cloud, *hostile(cloud))
    for url in presigned(cloud.url).values():
        cloud.check_signature(url)


def test_signed_urls_are_of_the_whole_key(cloud):
    fill(cloud, "x/y/1.jpg", "1.jpg")
    (url,) = presigned(f"{cloud.url}/x/*/1.jpg").values()
    assert fetch(url).content == b"x/y/1.jpg"


@pytest.mark.parametrize("seconds", [60, 24 * HOUR])
def test_signed_urls_say_how_long_they_are_valid(cloud, seconds):
    fill(cloud, "1.jpg")
    (url,) = presigned(cloud.url, seconds).values()
    assert cloud.lifetime(url) == pytest.approx(seconds, abs=30)
    assert cloud.lifetime(url) > seconds - 30


def test_signed_urls_of_what_is_gone_give_nothing(cloud):
    fill(cloud, "1.jpg")
    (url,) = presigned(cloud.url).values()
    cloud.delete("1.jpg")
    assert fetch(url).status_code == 404


def test_signed_urls_lead_to_the_listed_version_where_the_source_says_so(cloud):
    cloud.put("1.jpg", b"first")
    source = signing(cloud.url)
    (url,) = presigned(cloud.url).values()
    cloud.put("1.jpg", b"other")
    assert (fetch(url).content == b"other") is not source.pins_versions


def test_signed_urls_are_made_one_by_one(cloud):
    fill(cloud, "1.jpg")
    source = signing(cloud.url)
    (item,) = source.list()

    def endless() -> Iterator[MediaObject]:
        while True:
            yield item

    urls = iter(source.presign(endless(), HOUR))
    assert [fetch(next(urls)).content for _ in range(3)] == [b"1.jpg"] * 3


def test_bucket_takes_files(cloud, tmp_path: Path):
    bucket, _ = open_bucket(cloud.url)
    for name in (*hostile(cloud), "big.bin"):
        (tmp_path / "file").write_bytes(name.encode() * (300_000 if name == "big.bin" else 1))
        bucket.upload(name, tmp_path / "file")
    assert cloud.stored() == sorted([*hostile(cloud), "big.bin"])
    assert {name: cloud.get(name) for name in hostile(cloud)} == {name: name.encode() for name in hostile(cloud)}
    assert cloud.get("big.bin") == b"big.bin" * 300_000


def test_bucket_replaces_a_file(cloud, tmp_path: Path):
    fill(cloud, "a/1.bin")
    (tmp_path / "file").write_bytes(b"newer")
    open_bucket(cloud.url)[0].upload("a/1.bin", tmp_path / "file")
    assert cloud.get("a/1.bin") == b"newer"


def test_bucket_that_is_not_there_takes_no_file(cloud, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="nowhere"):
        open_bucket(cloud.wrong_url)[0].upload("a.bin", tmp_path / "file")


def test_bucket_finds_an_object(cloud):
    fill(cloud, *hostile(cloud), "a/1.jpg", "a/1.jpgs")
    bucket, _ = open_bucket(cloud.url)
    by_key = {item.key: item for item in bucket.list("")}
    for key, item in by_key.items():
        found = bucket.find(key)
        assert found is not None
        assert replace(found, modified=None) == replace(item, modified=None, checksum=found.checksum)
    assert [bucket.find(key) for key in ("a", "a/", "a/1", "b")] == [None] * 4


def test_bucket_names_the_folders_of_a_folder(cloud):
    fill(cloud, "a/1.jpg", "a/b/1.jpg", "a/c d/1.jpg", "a/c d/e/2.jpg", "a%/1.jpg", "z.jpg")
    bucket, _ = open_bucket(cloud.url)
    assert sorted(bucket.folders("")) == ["a", "a%"]
    assert sorted(bucket.folders("a/")) == ["b", "c d"]
    assert list(bucket.folders("a/b/")) == []
