import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.progress import Counting, Silent
from tasks.media import manifest as module
from tasks.media.manifest import (
    SCHEMA,
    ManifestFacts,
    ManifestRow,
    digest_source,
    find_row,
    read_manifest,
    write_manifest,
)
from tasks.media.names import decode_name
from tasks.roboflow_api.models import MAX_IMAGE_BYTES
from tasks.sources.base import MediaObject, SourceChanged
from tasks.sources.local import LocalSource
from tests.tasks.pictures import picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def stage(folder: Path) -> tuple[ManifestFacts, dict[str, ManifestRow]]:
    """The manifest's facts and its rows by key."""
    path = folder.parent / "manifest.parquet"
    facts = write_manifest(LocalSource(folder), path, Silent())
    return facts, {row.key: row for row in read_manifest(path)}


def rejected(folder: Path, key: str) -> str:
    facts, rows = stage(folder)
    assert rows[key].state == "rejected"
    assert facts.rejected == 1
    return str(rows[key].reason)


def test_manifest_holds_every_picture(photos: Path) -> None:
    sizes = {
        key: picture(photos / key, format=format).stat().st_size
        for key, format in {
            "a.jpg": "JPEG",
            "b.JPG": "JPEG",
            "c.Jpeg": "JPEG",
            "d.png": "PNG",
            "e.PNG": "PNG",
            "f.webp": "WEBP",
            "g.bmp": "BMP",
            "h.tif": "TIFF",
            "i.TIFF": "TIFF",
            "j.jp2": "JPEG2000",
        }.items()
    }
    facts, rows = stage(photos)
    assert {key: row.size for key, row in rows.items()} == sizes
    assert {(row.width, row.height, row.state, row.reason) for row in rows.values()} == {(32, 24, "staged", None)}
    assert (facts.files, facts.rejected, facts.ignored, facts.bytes) == (10, 0, 0, sum(sizes.values()))


def test_manifest_leaves_out_other_files(photos: Path) -> None:
    picture(photos / "a.jpg")
    for name in ("notes.txt", "jpg", "a.jpg.bak", ".jpg", "movie.mp4"):
        (photos / name).write_bytes(b"x")
    facts, rows = stage(photos)
    assert set(rows) == {"a.jpg"}
    assert facts.ignored == 5


def test_manifest_rejects_text_named_as_a_picture(photos: Path) -> None:
    (photos / "a.jpg").write_text("no picture at all")
    assert "not an image" in rejected(photos, "a.jpg")


def test_manifest_rejects_an_empty_file(photos: Path) -> None:
    (photos / "a.jpg").touch()
    assert rejected(photos, "a.jpg") == "the file is empty"


def test_manifest_rejects_a_file_over_the_limit(photos: Path) -> None:
    for name, more in (("edge.jpg", 0), ("over.jpg", 1)):
        picture(photos / name)
        os.truncate(photos / name, MAX_IMAGE_BYTES + more)
    assert "20971520" in rejected(photos, "over.jpg")


def test_manifest_stages_a_truncated_picture(photos: Path) -> None:
    file = picture(photos / "a.jpg", (300, 200), noisy=True)
    os.truncate(file, file.stat().st_size // 3)
    facts, rows = stage(photos)
    assert (rows["a.jpg"].state, rows["a.jpg"].width, facts.rejected) == ("staged", 300, 0)


def test_manifest_rejects_a_name_that_is_not_utf8(photos: Path) -> None:
    source = picture(photos / "a.jpg")
    for name in (b"\xff.jpg", b"\xfe.jpg", rb"\xff.jpg"):
        shutil.copy(os.fsencode(source), os.fsencode(photos) + b"/" + name)
    facts, _ = stage(photos)
    rows = list(read_manifest(photos.parent / "manifest.parquet"))
    bad = [row for row in rows if row.state == "rejected"]
    assert (facts.files, facts.rejected) == (4, 2)
    assert {row.key for row in bad} == {r"\xff.jpg", r"\xfe.jpg"}
    assert all("UTF-8" in str(row.reason) for row in bad)
    assert len({row.name for row in rows}) == 4


def test_manifest_tells_namesakes_apart(photos: Path) -> None:
    for folder in ("a", "b", "a/b"):
        picture(photos / folder / "1.jpg")
    _, rows = stage(photos)
    assert set(rows) == {"a/1.jpg", "b/1.jpg", "a/b/1.jpg"}
    assert len({row.name for row in rows.values()}) == 3


def test_manifest_takes_odd_names(photos: Path) -> None:
    names = {
        "a b.jpg",
        "quote'\".jpg",
        "line\nbreak.jpg",
        "日本 🙂.jpg",
        "-rf.jpg",
        ".a.jpg",
        "x" * 250 + ".jpg",
        "~~.jpg",
    }
    for name in names:
        picture(photos / name)
    _, rows = stage(photos)
    assert set(rows) == names
    for key, row in rows.items():
        assert row.name.startswith("~h") or decode_name(row.name) == key
        assert find_row(photos.parent / "manifest.parquet", key) == row


def test_manifest_rejects_what_cannot_be_read(photos: Path) -> None:
    class Vanishing(LocalSource):
        """All is listed, then one file is gone."""

        def list(self) -> Iterator[MediaObject]:
            items = [*super().list()]
            (photos / "b.jpg").unlink()
            yield from items

    picture(photos / "a.jpg")
    picture(photos / "b.jpg")
    path = photos.parent / "manifest.parquet"
    assert write_manifest(Vanishing(photos), path, Silent()).rejected == 1
    (row,) = read_manifest(path, "rejected")
    assert (row.key, row.reason) == ("b.jpg", "cannot be read any more: No such file or directory")


def test_manifest_of_nothing_is_bad_input(photos: Path) -> None:
    with pytest.raises(BadInput, match="no images in"):
        stage(photos)
    (photos / "a.txt").touch()
    with pytest.raises(BadInput, match=r"1 other files.*\.jpg"):
        digest_source(LocalSource(photos))
    assert not (photos.parent / "manifest.parquet").exists()


def test_manifest_states_can_be_picked(photos: Path) -> None:
    picture(photos / "a.jpg")
    (photos / "b.jpg").touch()
    stage(photos)
    path = photos.parent / "manifest.parquet"
    picked = {state: [row.key for row in read_manifest(path, state)] for state in (None, "staged", "rejected")}
    assert picked == {None: ["a.jpg", "b.jpg"], "staged": ["a.jpg"], "rejected": ["b.jpg"]}


def test_manifest_is_written_in_groups(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_PER_GROUP", 2)
    for number in range(5):
        picture(photos / f"{number}.jpg")
    seen: list[tuple[str, int, int | None]] = []
    path = photos.parent / "manifest.parquet"
    write_manifest(LocalSource(photos), path, Counting(lambda *report: seen.append(report), interval=0))
    written = pq.ParquetFile(path)
    assert [written.metadata.row_group(group).num_rows for group in range(3)] == [2, 2, 1]
    assert written.schema_arrow.equals(SCHEMA)
    assert written.schema_arrow.metadata[b"darkroom.schema"] == b"manifest/2"
    assert [row.key for row in read_manifest(path)] == [f"{number}.jpg" for number in range(5)]
    assert seen[-1] == ("stage", 5, None)


def test_manifest_row_opens_what_was_listed(photos: Path) -> None:
    file = picture(photos / "day 1" / "a.jpg")
    os.utime(file, ns=(0, 1_757_937_600_123_456_789))
    _, rows = stage(photos)
    source = LocalSource(photos)
    with source.open(rows["day 1/a.jpg"].item()) as opened:
        assert opened.read() == file.read_bytes()
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(SourceChanged):
        source.open(rows["day 1/a.jpg"].item())


def test_digest_is_stable(photos: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c/d.jpg"):
        picture(photos / name)
    facts, _ = stage(photos)
    assert facts.digest == digest_source(LocalSource(photos)) == stage(photos)[0].digest
    (photos / "note.txt").touch()
    assert digest_source(LocalSource(photos)) == facts.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(file.read_bytes() + b"x"),
        lambda file: os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000)),
        lambda file: file.rename(file.with_name("other.jpg")),
        lambda file: file.unlink(),
        lambda file: picture(file.with_name("new.jpg")),
    ],
    ids=["size", "time", "name", "removed", "added"],
)
def test_digest_changes_with(photos: Path, change: Callable[[Path], object]) -> None:
    picture(photos / "a.jpg")
    file = picture(photos / "b.jpg")
    before = digest_source(LocalSource(photos))
    change(file)
    assert digest_source(LocalSource(photos)) != before


def test_digest_does_not_depend_on_where_the_folder_lies(photos: Path, tmp_path: Path) -> None:
    picture(photos / "a.jpg")
    before = digest_source(LocalSource(photos))
    photos.rename(tmp_path / "moved")
    assert digest_source(LocalSource(tmp_path / "moved")) == before


def test_manifest_that_is_damaged_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    path.write_bytes(b"PAR1 junk PAR1")
    with pytest.raises(LocalFault, match=r"manifest.parquet is damaged: pass --rerun LABEL"):
        list(read_manifest(path))
