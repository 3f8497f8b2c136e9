import json
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.readers.reading import needs_readers, read_back
from tests.tasks.results.exporters.made_run import HOSTILE, detection, files_of, outline


def read(path: Path) -> Element:
    return ElementTree.parse(path).getroot()


def test_files_are_those_of_the_format(made):
    made.images("day 1/a.jpg", "b.jpg")
    made.tables({"day 1/a.jpg": [detection("car")], "b.jpg": []})
    written = made.write("voc", images="copy")
    assert files_of(written.path) == {
        "Annotations/b.xml",
        "Annotations/day~201~~a.xml",
        "ImageSets/Main/train.txt",
        "JPEGImages/b.jpg",
        "JPEGImages/day~201~~a.jpg",
        "classes.json",
        "dataset.json",
    }
    assert (written.path / "ImageSets" / "Main" / "train.txt").read_text() == "b\nday~201~~a\n"
    root = read(written.path / "Annotations" / "day~201~~a.xml")
    assert root.findtext("filename") == "day~201~~a.jpg"
    assert [root.findtext(f"size/{name}") for name in ("width", "height", "depth")] == ["64", "48", "3"]
    (found,) = root.findall("object")
    assert [found.findtext(name) for name in ("name", "truncated", "confidence")] == ["car", "0", "0.5"]
    assert [found.findtext(f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")] == ["16", "13", "26", "21"]
    assert read(written.path / "Annotations" / "b.xml").findall("object") == []


def test_box_that_reaches_out_is_clipped_and_said_to_be(made):
    made.tables({"a.jpg": [detection(x=62.0)]})
    (found,) = read(made.write("voc").path / "Annotations" / "a.xml").findall("object")
    assert (found.findtext("bndbox/xmax"), found.findtext("truncated")) == ("65", "1")


def test_splits_have_lists_of_their_own(made):
    made.tables({f"{n}.jpg": [] for n in range(8)})
    lists = made.write("voc", validation=0.5).path / "ImageSets" / "Main"
    assert (lists / "train.txt").read_text() == "2\n3\n4\n7\n"
    assert (lists / "val.txt").read_text() == "0\n1\n5\n6\n"


def test_outline_stands_beside_the_box(made):
    made.tables({"a.jpg": [detection(points=outline((1, 2), (3, 4), (5, 99)))]})
    root = read(made.write("voc").path / "Annotations" / "a.xml")
    assert [point.text for point in root.iterfind("object/polygon/*")] == ["2", "3", "4", "5", "6", "49"]
    assert root.findtext("segmented") == "1"


def test_image_of_unknown_size_is_left_out_of_the_lists_too(made):
    made.tables({"a.jpg": []}, width=None, height=None)
    written = made.write("voc")
    assert (written.path / "ImageSets" / "Main" / "train.txt").read_text() == ""
    assert (written.images, written.skipped) == (0, {"image whose size is not known": 1})


@needs_readers
def test_hostile_class_names_stay_apart(made):
    made.image("a.jpg")
    made.tables({"a.jpg": [detection(name) for name in (*HOSTILE, "")]})
    written = made.write("voc", images="copy")
    names = json.loads((written.path / "classes.json").read_text("ascii"))
    found = read_back("voc", written.path)
    assert [names[label] for label, *_ in found["supervision"]["a.jpg"]] == [*HOSTILE, "object"]
    unchanged = [name for name in HOSTILE if names.get(name) == name]
    assert set(HOSTILE) - set(unchanged) == {"nul\0", "nul\1", "cr\rlf"}
