from tests.readers.reading import needs_readers, read_back
from tests.tasks.results.exporters.made_run import (
    HEIGHT,
    HOSTILE,
    WIDTH,
    classification,
    detection,
    files_of,
    outline,
    read_yaml,
)


def test_files_are_those_of_the_format(made):
    made.tables({"a.jpg": [detection("car", x=32.0, y=12.0, width=16.0, height=24.0)], "b.jpg": []})
    written = made.write("yolo")
    assert files_of(written.path) == {
        "classes.txt",
        "dataset.json",
        "dataset.yaml",
        "labels/train/a.txt",
        "labels/train/b.txt",
    }
    label = (written.path / "labels" / "train" / "a.txt").read_text()
    assert label == "0 0.50000000 0.25000000 0.25000000 0.50000000\n"
    assert (written.path / "labels" / "train" / "b.txt").read_text() == ""
    assert read_yaml((written.path / "dataset.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/train",
        "nc": 1,
        "names": {0: "car"},
    }


def test_validation_split_has_labels_of_its_own(made):
    made.tables({f"{n}.jpg": [detection("car")] for n in range(8)})
    written = made.write("yolo", validation=0.5)
    assert {path.name for path in (written.path / "labels" / "val").iterdir()} == {"0.txt", "1.txt", "5.txt", "6.txt"}
    assert read_yaml((written.path / "dataset.yaml").read_text())["val"] == "images/val"


def test_images_that_share_a_stem_have_labels_of_their_own(made):
    made.tables({"a.jpg": [detection("car"), detection("car")], "a.png": [detection("car")]})
    made.images("a.jpg", "a.png")
    written = made.write("yolo", images="copy")
    labels = {path.name: len(path.read_text().splitlines()) for path in written.path.glob("labels/train/*")}
    assert labels == {"a.txt": 2, "a~xpng.txt": 1}
    assert {path.name for path in written.path.glob("images/train/*")} == {"a.jpg", "a~xpng.png"}


def test_one_outline_makes_every_label_an_outline(made):
    triangle = outline((0, 0), (32, 0), (-8, 60))
    made.tables({"a.jpg": [detection(points=triangle), detection(x=32.0, y=24.0, width=32.0, height=24.0)]})
    written = made.write("yolo")
    first, second = (written.path / "labels" / "train" / "a.txt").read_text().splitlines()
    assert [float(value) for value in first.split()] == [0, 0, 0, 0.5, 0, 0, 1]
    assert [float(value) for value in second.split()] == [0, 0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75]


def test_image_of_unknown_size_is_left_out_only_where_it_has_predictions(made):
    unknown = {"image_width": None, "image_height": None}
    made.tables({"a.jpg": [detection(**unknown)], "b.jpg": []}, width=None, height=None)
    written = made.write("yolo")
    assert {path.name for path in written.path.glob("labels/train/*")} == {"b.txt"}
    assert (written.images, written.predictions) == (1, 0)
    assert sum(written.skipped.values()) == 2


def test_classes_of_classifications_are_no_classes_of_boxes(made):
    made.tables({"a.jpg": [detection("car"), classification("sunny")]})
    written = made.write("yolo")
    assert (written.path / "classes.txt").read_text() == "car\n"
    assert written.skipped == {"prediction without a box": 1}


def test_run_without_predictions_has_no_classes(made):
    made.tables({"a.jpg": []})
    written = made.write("yolo")
    assert read_yaml((written.path / "dataset.yaml").read_text())["names"] == {}


@needs_readers
def test_hostile_class_names_come_back_whole(made):
    made.image("a.jpg")
    made.tables({"a.jpg": [detection(name) for name in (*HOSTILE, "", None)]})
    written = made.write("yolo", images="copy")
    found = read_back("yolo", written.path)
    assert [label for label, *_ in found["supervision"]["a.jpg"]] == [*HOSTILE, "object", "object"]
    assert sorted(found["yaml"]["names"].values()) == sorted((*HOSTILE, "object"))
    lines = (written.path / "classes.txt").read_text("utf-8").splitlines()
    assert len(lines) == len(set(lines)) == len(HOSTILE) + 1


def test_coordinates_are_shares_of_the_image_that_the_workflow_saw(made):
    """Sources that lie on their side are turned by it, and so by trainers."""
    made.image("a.jpg", size=(HEIGHT, WIDTH))
    made.tables({"a.jpg": [detection(x=WIDTH / 2, y=HEIGHT / 2, width=WIDTH, height=HEIGHT)]})
    written = made.write("yolo", images="copy")
    label = (written.path / "labels" / "train" / "a.txt").read_text()
    assert [float(value) for value in label.split()] == [0, 0.5, 0.5, 1, 1]
