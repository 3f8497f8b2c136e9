import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from tasks.core.errors import BadInput, ConnectionFailed
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.bucket import Bucket
from tasks.sources.local import LocalSource
from tasks.transfer.places import PARALLEL_TRANSFERS, BucketPlace, LocalPlace, Place, get_all, open_place, put_all
from tasks.transfer.unpack import UnsafeArchive
from tests.emulators import CLOUDS
from tests.emulators.fixtures import *  # noqa: F403
from tests.emulators.fixtures import ready

NAMES = ["b.txt", "a/b c%2F+#?.txt", "a/写真.png", "z/y/x.bin"]


@pytest.fixture(params=["local", *CLOUDS])
def writable(request, pool, monkeypatch):
    """What can be written to."""
    return ready(request.param, pool, monkeypatch)


@pytest.fixture
def made(writable) -> Place:
    """A place in it that is not there yet."""
    return open_place(f"{writable.url}/results/of runs")


def write(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)
    return folder


def test_place_gives_back_what_was_put(made: Place, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", NAMES)
    put = {item.key for item in put_all(made, folder, LocalSource(folder).list())}
    assert put == set(NAMES)
    listed = {item.key: item.size for item in made.files()}
    assert listed == {name: len(name.encode()) * 3 for name in NAMES}
    assert set(get_all(made, tmp_path / "out", [*NAMES, "no.txt"])) == set(NAMES)
    assert {(tmp_path / "out" / name).read_bytes() for name in NAMES} == {name.encode() * 3 for name in NAMES}
    assert not (tmp_path / "out/no.txt").exists()


def test_place_that_is_not_there_is_empty(made: Place, tmp_path: Path) -> None:
    assert (list(made.files()), list(made.folders()), made.has("a"), made.has("a/b")) == ([], [], False, False)
    assert not made.get("a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_place_has_folders(made: Place, tmp_path: Path) -> None:
    file = write(tmp_path, ["f"]) / "f"
    for name in ("top", "one/f", "two/f", "two/three/f", ".state/f"):
        made.put(name, file)
    assert sorted(made.folders()) == [".state", "one", "two"]
    assert list(made.sub("two").folders()) == ["three"]
    assert made.sub("two").sub("three").has("f")
    assert not made.has("two")
    assert sorted(item.key for item in made.sub("two").files()) == ["f", "three/f"]
    assert made.sub("two").url == f"{made.url}/two"


def test_marker_of_a_folder_is_no_file(cloud) -> None:
    for key in ("out/", "out/a/", "out/a/f"):
        cloud.put(key, b"")
    assert [item.key for item in open_place(f"{cloud.url}/out").files()] == ["a/f"]


def test_put_replaces(made: Place, tmp_path: Path) -> None:
    for text in ("first", "second", ""):
        (tmp_path / "f").write_text(text)
        made.put("f", tmp_path / "f")
        assert made.get("f", tmp_path / "copy")
        assert (tmp_path / "copy").read_text() == text


def test_remove_takes_one_file_and_minds_none_that_is_missing(made: Place, tmp_path: Path) -> None:
    folder = write(tmp_path, NAMES)
    for _ in put_all(made, folder, LocalSource(folder).list()):
        pass
    for _ in ("there", "gone"):
        made.remove(NAMES[1])
    assert {item.key for item in made.files()} == {*NAMES} - {NAMES[1]}
    assert not made.has(NAMES[1])


def test_url_of_a_place_ends_without_a_slash(writable) -> None:
    assert open_place(f"{writable.url}/").url == writable.url
    assert open_place(f"{writable.url}/a/b/").url == f"{writable.url}/a/b"


def test_open_place_takes_paths_and_file_urls(tmp_path: Path) -> None:
    assert open_place(str(tmp_path / "out")).url == str(tmp_path / "out")
    assert open_place(f"file://{tmp_path}/a%20b").url == str(tmp_path / "a b")
    (tmp_path / "a[1]").mkdir()
    assert open_place(str(tmp_path / "a[1]")).url == str(tmp_path / "a[1]")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("out/*", "cannot be a pattern"),
        ("file://server/path", "names a host"),
        ("sftp://host/path", r"s3:// gs:// az://"),
        ("https://host/path?sig=hidden", r"s3:// gs:// az://"),
        ("~nobody-of-this-name/x", "unknown user"),
        (__file__, "is a file"),
    ],
)
def test_open_place_refuses(url: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        open_place(url)
    assert "hidden" not in str(refused.value)


def test_open_place_refuses_a_pattern_in_a_bucket(cloud) -> None:
    with pytest.raises(BadInput, match="cannot be a pattern") as refused:
        open_place(f"{cloud.url}/out?sig=hidden")
    assert "hidden" not in str(refused.value)
    with pytest.raises(BadInput, match="cannot be a pattern"):
        open_place(f"{cloud.url}/2024-*/out")


def test_local_place_leaves_the_old_file_when_a_put_fails(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path / "place")
    place.put("f", write(tmp_path, ["f"]) / "f")
    with pytest.raises(FileNotFoundError):
        place.put("f", tmp_path / "missing")
    assert (tmp_path / "place/f").read_text() == "fff"


def test_get_all_takes_no_name_that_leads_out(tmp_path: Path) -> None:
    write(tmp_path, ["secret", "place/f"])
    with pytest.raises(UnsafeArchive, match="climbs out"):
        list(get_all(LocalPlace(tmp_path / "place"), tmp_path / "out/in", ["../secret"]))
    assert not (tmp_path / "out/secret").exists()


class Shelf:
    """A bucket of one object, whose readers are told what happens to it meanwhile."""

    scheme, name, pins_versions = "s3", "shelf", True

    def __init__(self, size: int, read: Callable[[], bytes]) -> None:
        self._size = size
        self._read = read

    def find(self, key: str) -> MediaObject | None:
        return MediaObject(key, self._size, "tag", None)

    def open(self, item: MediaObject, offset: int = 0) -> io.BytesIO:
        return io.BytesIO(self._read())

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"nobody asks for {name} here")


def on_shelf(size: int, read: Callable[[], bytes]) -> Place:
    return BucketPlace(cast("Bucket", Shelf(size, read)), "a")


def replaced(times: int) -> Callable[[], bytes]:
    left = iter(range(times))

    def read() -> bytes:
        if next(left, None) is not None:
            raise SourceChanged("changed")
        return b"newest"

    return read


def test_get_takes_the_newest_of_an_object_that_is_replaced_meanwhile(tmp_path: Path) -> None:
    assert on_shelf(6, replaced(2)).get("f", tmp_path / "f")
    assert (tmp_path / "f").read_text() == "newest"


def test_get_gives_up_on_an_object_that_is_replaced_all_the_time(tmp_path: Path) -> None:
    with pytest.raises(SourceChanged):
        on_shelf(6, replaced(100)).get("f", tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_get_does_not_take_a_part_for_the_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(ConnectionFailed, match="cut short"):
        on_shelf(7, lambda: b"newest").get("f", tmp_path / "f")
    assert (tmp_path / "f").read_text() == "old"


class Meeting(LocalPlace):
    """A place whose puts wait until several are there."""

    def __init__(self, folder: Path, parties: int) -> None:
        super().__init__(folder)
        self._barrier = threading.Barrier(parties, timeout=20)

    def put(self, name: str, file: Path) -> None:
        self._barrier.wait()
        super().put(name, file)


def test_put_all_puts_several_at_a_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", [f"{number}.txt" for number in range(PARALLEL_TRANSFERS)])
    assert len(list(put_all(Meeting(tmp_path / "out", PARALLEL_TRANSFERS), folder, LocalSource(folder).list()))) == 8


def test_put_all_draws_no_more_files_than_it_puts(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", [f"{number}.txt" for number in range(100)])
    drawn: list[MediaObject] = []

    def files() -> Iterator[MediaObject]:
        for item in LocalSource(folder).list():
            drawn.append(item)
            yield item

    puts = put_all(LocalPlace(tmp_path / "out"), folder, files())
    next(puts)
    assert len(drawn) <= PARALLEL_TRANSFERS + 1
    assert len(list(puts)) == 99
