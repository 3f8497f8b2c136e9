import csv
import json
import zipfile

import pytest

from tests.readers.reading import needs_readers, read_back
from tests.tasks.results.exporters.made_run import HOSTILE, classification, detection, files_of


def labels(path) -> list[dict[str, str]]:
    with (path / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_images_lie_in_the_folder_of_each_class_they_are_classified_as(made):
    made.images("a.jpg", "b.jpg", "c.jpg")
    made.tables(
        {
            "a.jpg": [classification("day", 0.9), classification("clear", 0.8)],
            "b.jpg": [classification("night", 0.7)],
            "c.jpg": [],
        }
    )
    written = made.write("classification-folders", images="copy")
    assert files_of(written.path) == {
        "classes.json",
        "dataset.json",
        "labels.csv",
        "train/clear/a.jpg",
        "train/day/a.jpg",
        "train/night/b.jpg",
    }
    for copy in ("train/clear/a.jpg", "train/day/a.jpg"):
        assert (written.path / copy).read_bytes() == (made.source / "a.jpg").read_bytes()
    assert (written.images, written.predictions) == (2, 3)
    assert written.skipped == {"image without a class": 1}
    assert json.loads((written.path / "classes.json").read_text()) == {
        "clear": "clear",
        "day": "day",
        "night": "night",
    }


def test_detections_do_not_count_where_there_are_classifications(made):
    made.tables({"a.jpg": [classification("day"), detection("car")], "b.jpg": [detection("car")]})
    written = made.write("classification-folders")
    assert [(row["name"], row["class"]) for row in labels(written.path)] == [("a.jpg", "day")]
    assert written.skipped == {
        "prediction with a box, where others are classifications": 2,
        "image without a class": 1,
    }


def test_detections_take_the_place_of_classifications_once_a_class(made):
    found = [detection("car", confidence=0.2), detection("bus", confidence=None), detection("car", confidence=0.8)]
    made.tables({"a.jpg": [*found, detection("car", confidence=0.5)]})
    written = made.write("classification-folders")
    rows = labels(written.path)
    assert [(row["folder"], row["confidence"], row["present"]) for row in rows] == [
        ("bus", "", "0"),
        ("car", "0.8", "0"),
    ]
    assert written.predictions == 2
    assert written.skipped == {"prediction of a class that the image has already": 2}


def test_most_confident_of_two_classifications_counts(made):
    made.tables({"a.jpg": [classification("day", 0.4), classification("day", 0.6), classification("day", None)]})
    assert [row["confidence"] for row in labels(made.write("classification-folders").path)] == ["0.6"]


def test_splits_have_folders_of_their_own(made):
    keys = [f"{n}.jpg" for n in range(8)]
    made.images(*keys)
    made.tables({key: [classification("day")] for key in keys})
    written = made.write("classification-folders", images="link", validation=0.5)
    assert {path.name for path in (written.path / "val" / "day").iterdir()} == {"0.jpg", "1.jpg", "5.jpg", "6.jpg"}
    assert all(path.is_symlink() for path in (written.path / "train" / "day").iterdir())


@needs_readers
@pytest.mark.parametrize("zipped", [False, True])
def test_hostile_class_names_stay_inside_and_apart(made, tmp_path, zipped):
    made.image("a.jpg")
    made.tables({"a.jpg": [classification(name) for name in HOSTILE]})
    before = files_of(tmp_path)
    written = made.write("classification-folders", images="copy", zipped=zipped)
    if zipped:
        assert files_of(tmp_path) - before == {"datasets/classification-folders.zip"}
        place = tmp_path / "unpacked"
        with zipfile.ZipFile(written.path) as archive:
            assert not [name for name in archive.namelist() if name.startswith("/") or ".." in name.split("/")]
            archive.extractall(place)
    else:
        place = written.path
        assert {path.split("/")[0] for path in files_of(tmp_path) - before} == {"datasets"}
    classes = json.loads((place / "classes.json").read_text())
    assert sorted(classes.values()) == sorted(HOSTILE)
    assert len({folder.casefold() for folder in classes}) == len(HOSTILE)
    found = read_back("classification-folders", place)
    assert sorted(folder for folder, _ in found["supervision"]["train"]) == sorted(classes)
    assert found["labels"]["duckdb"] == len(found["labels"]["rows"]) == len(HOSTILE)
