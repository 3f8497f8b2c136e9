import io
import json
import threading
from pathlib import Path

import pytest
from PIL import Image

from tasks.core.errors import BadInput, ConnectionFailed, LocalFault, NotFound
from tasks.results.exporters.pictures import FETCHED_AHEAD
from tests.tasks.results.exporters.made_run import detection, files_of

GONE = "image file that its source no longer gives"
KEYS = ("a.jpg", "day 1/b.png")


@pytest.fixture
def filled(made):
    made.images(*KEYS)
    made.tables({key: [detection("car")] for key in KEYS})
    return made


def test_annotations_alone_open_no_image(filled):
    written = filled.write("coco")
    assert not [name for name in files_of(written.path) if name.startswith("images/")]
    assert filled.opened == []


def test_copies_are_the_bytes_of_the_source(filled):
    written = filled.write("coco", images="copy")
    for key, name in zip(KEYS, ("a.jpg", "day~201~~b.png"), strict=True):
        assert (written.path / "images" / "train" / name).read_bytes() == (filled.source / key).read_bytes()
    assert json.loads((written.path / "dataset.json").read_text())["image_files"] == 2


def test_links_lead_to_the_source(filled):
    written = filled.write("coco", images="link")
    link = written.path / "images" / "train" / "day~201~~b.png"
    assert link.readlink() == filled.source / "day 1" / "b.png"
    assert filled.opened == []


def test_links_to_a_source_elsewhere_are_refused(filled, monkeypatch):
    monkeypatch.setattr(filled, "local_path", lambda key: None)
    with pytest.raises(BadInput, match="not on this machine: ask for copies"):
        filled.write("coco", images="link")
    assert list(filled.out.iterdir()) == []


def test_links_in_an_archive_are_refused(filled):
    with pytest.raises(BadInput, match="cannot be linked in an archive"):
        filled.write("coco", images="link", zipped=True)
    assert list(filled.out.iterdir()) == []


@pytest.mark.parametrize("wanted", ["copy", "link"])
def test_image_that_is_gone_is_counted_and_keeps_its_annotations(filled, wanted):
    (filled.source / "a.jpg").unlink()
    written = filled.write("coco", images=wanted)
    assert (written.images, written.predictions, written.skipped) == (2, 2, {GONE: 1})
    assert not (written.path / "images" / "train" / "a.jpg").exists()
    assert json.loads((written.path / "dataset.json").read_text())["image_files"] == 1


class BrokenFile(io.BytesIO):
    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 100)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise self._error
        return super().read(10)


@pytest.mark.parametrize("error", [NotFound("gone"), OSError("reset")])
def test_image_that_breaks_off_is_no_image(filled, monkeypatch, error):
    monkeypatch.setattr(filled, "open_source", lambda key: BrokenFile(error))
    written = filled.write("yolo", images="copy")
    assert written.skipped == {GONE: 2}
    assert not (written.path / "images").exists()


@pytest.mark.parametrize("error", [ConnectionFailed("later"), BadInput("wrong key"), LocalFault("no space")])
def test_trouble_that_is_not_the_images_own_ends_the_export(filled, monkeypatch, error):
    monkeypatch.setattr(filled, "open_source", lambda key: BrokenFile(error))
    with pytest.raises(type(error)):
        filled.write("yolo", images="copy")
    assert list(filled.out.iterdir()) == []


@pytest.mark.parametrize("wanted", ["copy", "link"])
@pytest.mark.parametrize(("orientation", "size"), [(1, [40, 30]), (6, [30, 40])])
def test_unknown_size_is_read_from_the_image_as_a_workflow_sees_it(made, wanted, orientation, size):
    made.source.mkdir()
    picture = Image.new("RGB", (40, 30))
    turned = picture.getexif()
    turned[0x0112] = orientation
    picture.save(made.source / "a.jpg", exif=turned)
    made.tables({"a.jpg": [detection(image_width=None, image_height=None)]}, width=None, height=None)
    written = made.write("coco", images=wanted)
    (image,) = json.loads((written.path / "annotations" / "instances_train.json").read_text())["images"]
    assert [image["width"], image["height"]] == size
    assert written.predictions == 1


def test_size_of_what_is_no_image_stays_unknown(made):
    made.source.mkdir()
    (made.source / "a.jpg").write_bytes(b"no image")
    made.tables({"a.jpg": []}, width=None, height=None)
    written = made.write("coco", images="copy")
    assert written.skipped == {"image whose size is not known": 1}
    assert files_of(written.path) == {"annotations/instances_train.json", "dataset.json"}


def test_images_are_fetched_side_by_side_and_in_order(made, monkeypatch):
    keys = [f"{n:02d}.png" for n in range(2 * FETCHED_AHEAD)]
    made.images(*keys)
    made.tables({key: [] for key in keys})
    together = threading.Barrier(FETCHED_AHEAD, timeout=20)

    def open_source(key: str):
        together.wait()
        return (made.source / key).open("rb")

    monkeypatch.setattr(made, "open_source", open_source)
    written = made.write("coco", images="copy")
    assert written.skipped == {}
    for key in keys:
        assert (written.path / "images" / "train" / key).read_bytes() == (made.source / key).read_bytes()


def test_local_path_may_be_relative(filled, monkeypatch):
    monkeypatch.chdir(filled.source)
    monkeypatch.setattr(filled, "local_path", Path)
    link = filled.write("coco", images="link").path / "images" / "train" / "a.jpg"
    assert link.read_bytes() == (filled.source / "a.jpg").read_bytes()
