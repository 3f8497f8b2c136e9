import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks.core.errors import BadInput
from tasks.sources.base import SourceChanged
from tasks.sources.local import LocalSource

MEMORY = Path("/dev/shm")


def fill(folder: Path, *keys: str) -> None:
    for key in keys:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())


def keys(folder: Path, *left_out: Path) -> list[str]:
    return [item.key for item in LocalSource(folder, left_out).list()]


def test_list_gives_every_file_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/z.jpg", "a/b/c.txt", "c", ".hidden/x")
    assert keys(tmp_path) == [".hidden/x", "a/b/c.txt", "a/z.jpg", "b.jpg", "c"]


def test_list_tells_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_757_937_600_999_999_999))
    (item,) = LocalSource(tmp_path).list()
    assert (item.size, item.etag) == (5, None)
    assert item.modified == datetime(2025, 9, 15, 12, 0, 0, 999_999, tzinfo=UTC)


def test_list_takes_times_before_1970(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(0, -500))
    (item,) = LocalSource(tmp_path).list()
    assert item.modified == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a file system that keeps any time")
def test_list_takes_times_that_no_calendar_has() -> None:
    with TemporaryDirectory(dir=MEMORY) as name:
        fill(Path(name), "a.jpg")
        os.utime(Path(name, "a.jpg"), (0, 10**12))
        source = LocalSource(Path(name))
        (item,) = source.list()
        assert item.modified is None
        source.open(item).close()


def test_list_ends_in_loops_of_links(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/1.jpg", "c/2.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/circle").symlink_to("circle")
    (tmp_path / "c/across").symlink_to("../a")
    assert keys(tmp_path) == ["a/b/1.jpg", "c/2.jpg", "c/across/b/1.jpg"]


def test_list_follows_a_linked_folder_once(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    photos = tmp_path / "photos"
    fill(photos, "0.jpg")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/deep/back").symlink_to(tmp_path / "elsewhere")
    assert keys(photos) == ["0.jpg", "link/1.jpg", "link/deep/2.jpg"]


def test_list_follows_linked_files_and_skips_dead_links(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "c.jpg").symlink_to("nowhere")
    assert keys(tmp_path) == ["a.jpg", "b.jpg"]


def test_list_takes_regular_files_only(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/null")
    (tmp_path / "folder.jpg").mkdir()
    assert keys(tmp_path) == ["a.jpg"]


def test_list_leaves_output_folders_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "runs/r.jpg", "b/runs/kept.jpg", ".darkroom/d.jpg")
    out = [tmp_path / "b/../runs", tmp_path / ".darkroom", tmp_path / "not-there-yet"]
    assert keys(tmp_path, *out) == ["a.jpg", "b/runs/kept.jpg"]


def test_list_leaves_output_folders_out_behind_links(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg", "out/runs/r.jpg", "out/b.jpg")
    (tmp_path / "photos/link").symlink_to(tmp_path / "out/runs")
    (tmp_path / "photos/wide").symlink_to(tmp_path / "out")
    assert keys(tmp_path / "photos", tmp_path / "out/runs") == ["a.jpg", "wide/b.jpg"]


def test_list_goes_into_an_output_folder_that_is_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, "runs/0123/export/a.jpg")
    assert keys(tmp_path / "runs/0123", tmp_path / "runs") == ["export/a.jpg"]


def test_output_folder_itself_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="results"):
        LocalSource(tmp_path, [tmp_path / "x/.."])


def test_list_goes_deeper_than_the_interpreter_s_stack(tmp_path: Path) -> None:
    depth, here = 1200, os.open(tmp_path, os.O_RDONLY)  # paths that long cannot be made or removed in one go

    def go(to: str) -> None:
        nonlocal here
        there = os.open(to, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there

    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        go("d")
    os.close(os.open("a.jpg", os.O_CREAT, dir_fd=here))
    try:
        assert keys(tmp_path) == ["d/" * depth + "a.jpg"]
    finally:  # pytest's own clean-up recurses
        os.unlink("a.jpg", dir_fd=here)
        for _ in range(depth):
            go("..")
            os.rmdir("d", dir_fd=here)
        os.close(here)


def test_list_is_a_stream(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b/1.jpg")
    listing = LocalSource(tmp_path).list()
    assert next(listing).key == "a.jpg"
    fill(tmp_path, "b/2.jpg")
    assert [item.key for item in listing] == ["b/1.jpg", "b/2.jpg"]


def test_list_leaves_out_what_vanishes(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg", "c/1.jpg", "d.jpg")
    listing = LocalSource(tmp_path).list()
    next(listing)
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/1.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert [item.key for item in listing] == ["d.jpg"]


def test_open_reads_from_an_offset(tmp_path: Path) -> None:
    fill(tmp_path, "a/b.jpg")
    source = LocalSource(tmp_path)
    (item,) = source.list()
    with source.open(item) as whole, source.open(item, 3) as rest:
        assert (whole.read(), rest.read()) == (b"a/b.jpg", b".jpg")


def test_open_refuses_what_has_changed(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    source = LocalSource(tmp_path)
    longer, newer, gone, folder = source.list()
    (tmp_path / "a.jpg").write_bytes(b"longer than before")
    os.utime(tmp_path / "b.jpg", (0, 0))
    (tmp_path / "c.jpg").unlink()
    (tmp_path / "d.jpg").unlink()
    (tmp_path / "d.jpg").mkdir()
    for item, reason in ((longer, "changed"), (newer, "changed"), (gone, "No such file"), (folder, "directory")):
        with pytest.raises(SourceChanged, match=reason):
            source.open(item)


def test_folder_that_is_none_is_bad_input(tmp_path: Path) -> None:
    fill(tmp_path, "file.jpg")
    with pytest.raises(BadInput, match="does not exist"):
        LocalSource(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="not a folder"):
        LocalSource(tmp_path / "file.jpg")
