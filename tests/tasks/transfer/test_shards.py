import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.media.manifest import ManifestRow
from tasks.media.names import encode_name
from tasks.sources.base import Source, SourceChanged
from tasks.sources.local import LocalSource
from tasks.transfer.shards import FileChanged, Shard, ShardLimits, plan_shards, stream_file, stream_shard

MEGABYTE = 1 << 20
SIZES = {
    "a.jpg": 1,
    "b/c.jpg": 511,
    "d.jpg": 512,
    "e é.jpg": 513,
    "x" * 120 + ".jpg": 10_000,
    "z" * 240 + ".png": 300_000,
}


@pytest.fixture
def source(tmp_path: Path) -> LocalSource:
    return LocalSource(tmp_path)


def put(folder: Path, key: str, size: int) -> None:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def rows_of(source: Source) -> tuple[ManifestRow, ...]:
    return tuple(
        ManifestRow(item.key, encode_name(item.key), item.size, item.etag, item.modified) for item in source.list()
    )


def row(number: int, size: int) -> ManifestRow:
    return ManifestRow(f"{number}.jpg", f"{number}.jpg", size, None, None)


def plan(sizes: list[int], limits: ShardLimits) -> list[list[int]]:
    shards = plan_shards((row(number, size) for number, size in enumerate(sizes)), limits)
    return [[row.size or 0 for row in shard.rows] for shard in shards]


def test_shard_is_a_tar(source: LocalSource) -> None:
    for key, size in SIZES.items():
        put(source.root, key, size)
    rows = rows_of(source)
    shard = Shard("shard-000000", rows)
    archive = b"".join(stream_shard(source, shard))
    assert len(archive) == shard.length()
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        members = tar.getmembers()
        assert [(member.name, member.size) for member in members] == [(row.name, row.size) for row in rows]
        assert all(member.isreg() for member in members)
        for member, row in zip(members, rows, strict=True):
            content = tar.extractfile(member)
            assert content is not None
            assert content.read() == (source.root / row.key).read_bytes()


def test_shard_is_the_same_for_the_same_files(source: LocalSource) -> None:
    for key, size in SIZES.items():
        put(source.root, key, size)
    shard = Shard("shard-000000", rows_of(source))
    assert b"".join(stream_shard(source, shard)) == b"".join(stream_shard(source, shard))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 8 * 1024**3, 9 * 1024**3])
@pytest.mark.parametrize("name", ["a.jpg", "n" * 100, "n" * 101, "n" * 200])
def test_shard_length_is_that_of_tarfile(size: int, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    expected = len(member.tobuf(tarfile.PAX_FORMAT)) + -(-size // 512) * 512 + 1024
    assert Shard("s", (ManifestRow(name, name, size, None, None),)).length() == expected


def test_shard_without_changed_files_keeps_its_name() -> None:
    shard = Shard("shard-000007", (row(1, 5), row(2, 5), row(3, 5)))
    less = shard.without({"2.jpg", "9.jpg"})
    assert (less.part, [row.name for row in less.rows]) == ("shard-000007", ["1.jpg", "3.jpg"])


def test_plan_cuts_by_count() -> None:
    assert plan([5] * 7, ShardLimits(images=3)) == [[5, 5, 5], [5, 5, 5], [5]]


def test_plan_cuts_by_the_size_of_the_archive() -> None:
    limits = ShardLimits(bytes=1024 + 2 * (512 + 1024))
    assert plan([1000] * 5, limits) == [[1000, 1000], [1000, 1000], [1000]]
    assert plan([1000, 1025, 1], limits) == [[1000], [1025, 1]]
    shards = plan_shards((row(number, number * 37 % 2000) for number in range(300)), limits)
    assert all(shard.length() <= limits.bytes for shard in shards)


def test_plan_sends_a_large_file_alone() -> None:
    assert plan([10, 9_000, 10], ShardLimits(bytes=5_000)) == [[10], [9_000], [10]]


def test_plan_of_nothing_is_nothing() -> None:
    assert plan([], ShardLimits()) == []


def test_plan_numbers_its_parts_the_same_each_time() -> None:
    rows = [row(number, 100) for number in range(10)]
    first, again = (list(plan_shards(iter(rows), ShardLimits(images=4))) for _ in range(2))
    assert first == again
    assert [shard.part for shard in first] == ["shard-000000", "shard-000001", "shard-000002"]


def test_plan_draws_rows_as_shards_are_used() -> None:
    drawn: list[int] = []

    def rows() -> Iterator[ManifestRow]:
        for number in range(1000):
            drawn.append(number)
            yield row(number, 10)

    next(plan_shards(rows(), ShardLimits(images=10)))
    assert len(drawn) <= 11


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [
        (None, None, ShardLimits(256, 100)),
        (500, 1000, ShardLimits(256, 100)),
        (10, 50, ShardLimits(10, 50)),
        (0, 0, ShardLimits(256, 100)),
    ],
)
def test_limits_are_the_lower_ones(images: int | None, size: int | None, expected: ShardLimits) -> None:
    assert ShardLimits(256, 100).within(images, size) == expected


@pytest.mark.parametrize("change", ["shrinks", "grows", "vanishes", "touched"])
def test_stream_names_the_file_that_changed(source: LocalSource, change: str) -> None:
    for key in ("a.jpg", "b/b.jpg", "c.jpg"):
        put(source.root, key, 1000)
    shard = Shard("s", rows_of(source))
    file = source.root / "b/b.jpg"
    if change == "vanishes":
        file.unlink()
    elif change == "touched":
        os.utime(file, (0, 0))
    else:
        os.truncate(file, 500 if change == "shrinks" else 5000)
    sent = bytearray()
    with pytest.raises(FileChanged) as caught:
        for piece in stream_shard(source, shard):
            sent += piece
    assert caught.value.name == "b~~b.jpg"
    assert isinstance(caught.value, SourceChanged)
    assert len(sent) < shard.length()


def test_stream_tells_a_file_that_shrinks_while_it_is_read(source: LocalSource) -> None:
    put(source.root, "a.jpg", MEGABYTE)
    (row,) = rows_of(source)
    pieces = stream_file(source, row)
    next(pieces)
    os.truncate(source.root / "a.jpg", 300_000)
    with pytest.raises(FileChanged, match="cut short"):
        list(pieces)


def test_stream_never_sends_more_than_was_staged(source: LocalSource) -> None:
    put(source.root, "a.jpg", MEGABYTE)
    (row,) = rows_of(source)
    pieces = stream_file(source, row)
    sent = len(next(pieces))
    os.truncate(source.root / "a.jpg", 3 * MEGABYTE)
    assert sent + sum(map(len, pieces)) == MEGABYTE


def test_stream_is_flat_in_memory(source: LocalSource) -> None:
    for name in ("a.jpg", "b.jpg"):
        (source.root / name).touch()
        os.truncate(source.root / name, 32 * MEGABYTE)
    shard = Shard("s", rows_of(source))
    tracemalloc.start()
    try:
        length = sum(map(len, stream_shard(source, shard)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == shard.length()
    assert peak < 2 * MEGABYTE
