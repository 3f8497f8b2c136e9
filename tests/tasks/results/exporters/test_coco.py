import json
import tracemalloc

import pyarrow as pa
import pytest

from tests.readers.reading import needs_readers, read_back
from tests.tasks.results.exporters.made_run import HEIGHT, WIDTH, MadeRun, classification, detection, files_of, outline


def read(made: MadeRun, split: str = "train", **options):
    path = made.write("coco", **options).path / "annotations" / f"instances_{split}.json"
    return json.loads(path.read_text("ascii"))


def test_files_are_those_of_the_format(made):
    made.tables({"a.jpg": [detection("car")], "b/c.jpg": []})
    written = made.write("coco")
    assert files_of(written.path) == {"annotations/instances_train.json", "dataset.json"}
    content = json.loads((written.path / "annotations" / "instances_train.json").read_text("ascii"))
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT, "source_key": "a.jpg"},
        {"id": 2, "file_name": "b~~c.jpg", "width": WIDTH, "height": HEIGHT, "source_key": "b/c.jpg"},
    ]
    assert content["categories"] == [{"id": 1, "name": "car", "supercategory": ""}]
    (annotation,) = content["annotations"]
    assert annotation == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [15.0, 12.0, 10.0, 8.0],
        "area": 80.0,
        "segmentation": [],
        "iscrowd": 0,
        "score": 0.5,
        "output": "found",
    }


def test_run_without_any_prediction_or_image_is_a_dataset_too(made):
    made.tables({})
    content = read(made, validation=0.5)
    assert (content["images"], content["annotations"], content["categories"]) == ([], [], [])
    assert (made.out / "coco" / "annotations" / "instances_val.json").exists()


def test_ids_are_unique_over_the_splits_and_categories_are_shared(made):
    made.tables({f"{n}.jpg": [detection(f"class {n}")] for n in range(8)})
    train, val = read(made, validation=0.5), read(made, "val", validation=0.5)
    assert {image["source_key"] for image in val["images"]} == {f"{n}.jpg" for n in (0, 1, 5, 6)}
    for name in ("images", "annotations"):
        ids = [entry["id"] for entry in train[name] + val[name]]
        assert sorted(ids) == list(range(1, 9))
    assert train["categories"] == val["categories"]
    names = {category["id"]: category["name"] for category in val["categories"]}
    keys = {image["id"]: image["source_key"] for image in val["images"]}
    assert {(keys[each["image_id"]], names[each["category_id"]]) for each in val["annotations"]} == {
        (f"{n}.jpg", f"class {n}") for n in (0, 1, 5, 6)
    }


def test_categories_keep_the_order_of_the_model(made):
    made.tables({"a.jpg": [detection("zebra", class_id=3), detection("ant", class_id=7)]})
    assert [category["name"] for category in read(made)["categories"]] == ["zebra", "ant"]


@needs_readers
def test_outlines_are_segmentations_that_pycocotools_draws(made):
    triangle = outline((10, 10), (30, 10), (10, 40))
    broken = [*outline((1, 1), (2, 2)), {"x": None, "y": 3.0}]
    made.tables({"a.jpg": [detection(points=triangle), detection(points=broken)]})
    made.image("a.jpg")
    written = made.write("coco", images="copy")
    found = read_back("coco", written.path)
    annotated, boxed = found["raw"]["a.jpg"]["annotations"]
    assert annotated["segmentation"] == [[10, 10, 30, 10, 10, 40]]
    assert annotated["area"] == 300
    assert annotated["bbox"] == [15, 12, 10, 8]
    assert found["mask_pixels"]["a.jpg"] == [pytest.approx(300, rel=0.1)]
    assert boxed["segmentation"] == []


def test_keypoints_stand_in_the_order_of_their_category(made):
    def point(name: str | None, number: int | None, x: float | None) -> dict[str, object]:
        return {"x": x, "y": 2.0, "confidence": 0.9, "class": name, "class_id": number}

    made.tables(
        {
            "a.jpg": [
                detection("person", keypoints=[point("nose", 0, 1), point("eye", 1, 2)]),
                detection("person", keypoints=[point("eye", 1, 5), point("nose", 0, None), point("eye", 1, 6)]),
                detection("hand", keypoints=[point(None, 4, 7), point(None, None, 8)]),
                detection("car"),
            ]
        }
    )
    content = read(made)
    categories = {category["name"]: category.get("keypoints") for category in content["categories"]}
    assert categories == {"car": None, "hand": ["point 1", "point 4"], "person": ["nose", "eye"]}
    first, second, third, fourth = content["annotations"]
    assert (first["keypoints"], first["num_keypoints"]) == ([1, 2, 2, 2, 2, 2], 2)
    assert (second["keypoints"], second["num_keypoints"]) == ([0, 0, 0, 5, 2, 2], 1)
    assert (third["keypoints"], third["num_keypoints"]) == ([8, 2, 2, 7, 2, 2], 2)
    assert "keypoints" not in fourth
    assert made.write("coco").skipped == {"keypoint of a name that its prediction has already": 1}


def test_what_has_no_place_in_the_image_is_counted(made):
    made.tables(
        {
            "a.jpg": [
                detection("car"),
                detection("crop", image_width=20, image_height=20),
                detection("folded", width=-3.0),
                classification("sunny"),
                detection("half", height=None),
            ]
        }
    )
    written = made.write("coco")
    assert written.predictions == 1
    assert written.skipped == {
        "prediction in an image of another size, such as a crop": 1,
        "box of negative size": 1,
        "prediction without a box": 2,
    }
    assert {category["name"] for category in read(made)["categories"]} == {"car", "crop", "folded"}


def test_image_of_unknown_size_is_left_out_and_counted(made):
    unknown = {"image_width": None, "image_height": None}
    made.tables({"a.jpg": [detection(**unknown), detection(**unknown)], "b.jpg": []}, width=None, height=None)
    written = made.write("coco")
    assert (written.images, written.predictions) == (0, 0)
    assert written.skipped == {
        "image whose size is not known": 2,
        "prediction in an image whose size is not known": 2,
    }


def test_size_that_only_predictions_know_is_taken_from_them(made):
    made.tables({"a.jpg": [detection(image_width=None, image_height=None), detection()]}, width=None, height=None)
    (image,) = read(made)["images"]
    assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
    assert made.write("coco").predictions == 2


def test_memory_does_not_grow_with_the_images(tmp_path):
    def peak(count: int) -> int:
        made = MadeRun(tmp_path / str(count))
        points = outline(*((float(n), 3.0) for n in range(40)))
        made.tables({f"{n:06d}.jpg": [detection("car", points=points), detection("bus")] for n in range(count)})
        arrow_before = pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            assert made.write("coco").predictions == 2 * count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert pa.total_allocated_bytes() <= arrow_before + (1 << 20)

    assert peak(3_000) < peak(600) + (1 << 20)
