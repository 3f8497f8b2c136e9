import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.options import DatasetOptions
from tasks.results.exporters.datasets import write_datasets
from tests.commands import ROOT, clean_environment
from tests.tasks.results.exporters.made_run import MadeRun, classification, detection, files_of
from tests.tasks.results.exporters.test_registry import OWN

KILLED_LATE = """
import os, signal, sys
from pathlib import Path
from tasks.core.options import DatasetOptions
from tasks.results.exporters.datasets import write_datasets

def progress(_images):
    os.kill(os.getpid(), signal.SIGKILL)

options = DatasetOptions(formats=["voc"], validation=0.5, zipped=sys.argv[3] == "True")
write_datasets(Path(sys.argv[1]), Path(sys.argv[2]), options, None, progress)
"""


@pytest.fixture
def filled(made: MadeRun) -> MadeRun:
    made.images("a.jpg", "b.jpg", "c.jpg")
    made.tables({"a.jpg": [detection("car"), detection("bus")], "b.jpg": [classification("day")], "c.jpg": []})
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


@pytest.mark.parametrize("form", OWN)
def test_dataset_says_what_it_holds(filled, form):
    written = filled.write(form, validation=0.5, images="copy")
    about = json.loads((written.path / "dataset.json").read_text())
    assert (about["schema"], about["format"], about["run"]) == ("dataset/1", form, filled.root.name)
    assert about["options"] == {"outputs": [], "images": "copy", "validation": 0.5, "zipped": False}
    assert (about["images"], about["predictions"]) == (written.images, written.predictions)
    assert about["skipped"] == written.skipped
    assert sum(about["splits"].values()) == written.images
    assert sum(about["classes"].values()) == written.predictions
    left_out = sum(count for reason, count in written.skipped.items() if reason.startswith("prediction"))
    assert written.predictions + left_out == len(filled.rows())
    others = content(written.path)
    del others["dataset.json"]
    assert (written.files, written.bytes) == (len(others), sum(map(len, others.values())))


@pytest.mark.parametrize("form", OWN)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_there_is_not_written_again(filled, form, zipped):
    first = filled.write(form, images="copy", zipped=zipped)
    told_before = first.path.stat()
    again = filled.write(form, images="copy", zipped=zipped)
    assert (first.fresh, again.fresh) == (True, False)
    assert first.path.stat().st_ino == told_before.st_ino
    assert vars(again) == vars(first) | {"fresh": False}
    assert [path.name for path in filled.out.iterdir()] == [first.path.name]


@pytest.mark.parametrize("form", OWN)
def test_archive_holds_the_files_of_the_folder_and_is_the_same_each_time(filled, form):
    folder = content(filled.write(form, images="copy").path)
    archive = filled.write(form, images="copy", zipped=True).path
    assert archive.name == f"{form}.zip"
    before = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        packed = {name: opened.read(name) for name in opened.namelist()}
        assert len(packed) == len(opened.namelist())
    del folder["dataset.json"], packed["dataset.json"]
    assert packed == folder
    archive.unlink()
    assert filled.write(form, images="copy", zipped=True).path.read_bytes() == before


@pytest.mark.parametrize("change", [{"validation": 0.5}, {"outputs": ["other"]}, {"images": "link"}])
def test_other_options_replace_the_dataset(filled, change):
    filled.write("yolo")
    written = filled.write("yolo", **change)
    assert written.fresh
    assert json.loads((written.path / "dataset.json").read_text())["options"].items() >= change.items()
    assert [path.name for path in filled.out.iterdir()] == ["yolo"]
    assert not filled.write("yolo", **change).fresh


def test_other_results_replace_the_dataset(filled):
    before = content(filled.write("yolo").path)
    filled.tables({"a.jpg": [detection("tram")]})
    written = filled.write("yolo")
    assert written.fresh
    assert before.keys() - content(written.path).keys() == {"labels/train/b.txt", "labels/train/c.txt"}


@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_dataset_is_written_again(filled, zipped):
    written = filled.write("yolo", zipped=zipped)
    if zipped:
        written.path.write_bytes(written.path.read_bytes()[:-30])
    else:
        (written.path / "labels" / "train" / "a.txt").write_text("")
    assert filled.write("yolo", zipped=zipped).fresh
    assert not filled.write("yolo", zipped=zipped).fresh


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": 1}', "\0"])
def test_description_that_is_none_is_not_believed(filled, text):
    (filled.write("yolo").path / "dataset.json").write_text(text)
    assert filled.write("yolo").fresh


@pytest.mark.parametrize("zipped", [False, True])
def test_killed_process_leaves_the_earlier_dataset_whole(filled, zipped):
    earlier = filled.write("voc", zipped=zipped)
    before = earlier.path.read_bytes() if zipped else content(earlier.path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_LATE, filled.root, filled.out, str(zipped)],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (earlier.path.read_bytes() if zipped else content(earlier.path)) == before
    assert {path.name for path in filled.out.iterdir() if not path.name.startswith(".")} == {earlier.path.name}
    assert filled.write("voc", validation=0.5, zipped=zipped).fresh
    assert [path.name for path in filled.out.iterdir()] == [earlier.path.name]


def test_error_leaves_nothing_behind(filled):
    def progress(_images: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_datasets(filled.root, filled.out, DatasetOptions(formats=["coco"], images="copy"), filled, progress)
    assert list(filled.out.iterdir()) == []


def test_all_formats_are_written_and_progress_is_told_for_each(filled):
    told: list[int] = []
    options = DatasetOptions(formats=["csv", "coco", "csv"])
    written = write_datasets(filled.root, filled.out, options, filled, told.append)
    assert [each.format for each in written] == ["csv", "coco"]
    assert told == [1] * 6


def test_no_format_writes_nothing(filled):
    assert write_datasets(filled.root, filled.out, DatasetOptions(), filled) == ()
    assert not filled.out.exists()


def test_unknown_format_is_told_before_anything_is_written(filled):
    with pytest.raises(BadInput):
        write_datasets(filled.root, filled.out, DatasetOptions(formats=["coco", "nothing"]), filled)
    assert not filled.out.exists()


def test_run_without_results_is_told(made):
    with pytest.raises(BadInput, match="no results yet"):
        made.write("coco")


def test_place_that_cannot_be_written_is_a_local_fault(filled):
    filled.out.write_text("a file")
    with pytest.raises(LocalFault):
        filled.write("coco")


def test_link_in_the_place_of_a_dataset_is_replaced_and_not_followed(filled, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").write_text("kept")
    filled.out.mkdir()
    (filled.out / "coco").symlink_to(elsewhere)
    written = filled.write("coco")
    assert not written.path.is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["keep"]
