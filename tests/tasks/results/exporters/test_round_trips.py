"""Counts and boxes of every format are those of ``predictions.parquet``, as the format's own library reads them."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tasks.results.exporters.description import WrittenDataset
from tests.readers.reading import needs_readers, read_all
from tests.tasks.results.exporters.made_run import HEIGHT, WIDTH, MadeRun, detection, edges, outline

CLASSES = ("car", "bicycle", "traffic light", None)
Boxes = dict[str, list[tuple[str, list[float]]]]
"""Class and edges of each detection, by key of the image."""
KEYS = [f"day {n % 3}/{n}{extension}" for n in range(12) for extension in (".jpg", ".png")]


def random_box(choice: random.Random) -> dict[str, float]:
    """Mostly in the image; some reach out of it, some lie beside it."""
    x, y = choice.uniform(-10, WIDTH + 10), choice.uniform(-10, HEIGHT + 10)
    return {"x": x, "y": y, "width": choice.uniform(0, 40), "height": choice.uniform(0, 30)}


def random_outline(choice: random.Random) -> list[dict[str, float]]:
    count = choice.randint(3, 9)
    return outline(*((choice.uniform(-8, WIDTH + 8), choice.uniform(-8, HEIGHT + 8)) for _ in range(count)))


@dataclass(frozen=True)
class ReadBack:
    """A run, its datasets, and what the formats' libraries see in them."""

    made: MadeRun
    rows: list[dict[str, Any]]
    written: dict[str, WrittenDataset]
    found: dict[str, Any]

    def boxes(self, form: str, library: str) -> Boxes:
        """What a library found, by key of the image."""
        lines = (self.written["jsonl"].path / "images.jsonl").read_text("utf-8").splitlines()
        keys = {image["name"]: image["source_key"] for image in map(json.loads, lines)}
        return {
            keys[name]: [(label, box) for label, *box in found] for name, found in self.found[form][library].items()
        }


def filled(made: MadeRun, seed: int) -> MadeRun:
    """A run with random boxes; the third also has outlines."""
    choice = random.Random(seed)
    images: dict[str, list[dict[str, Any]]] = {}
    for key in KEYS:
        images[key] = []
        for number in range(choice.randint(0, 6)):
            row = detection(choice.choice(CLASSES), **random_box(choice), detection_id=f"{key}-{number}")
            row["confidence"] = choice.choice([None, choice.random()])
            if seed == 3 and choice.random() < 0.6:
                row["points"] = random_outline(choice)
            images[key].append(row)
    made.images(*KEYS)
    made.tables(images)
    return made


@pytest.fixture(scope="module", params=[1, 2, 3], ids="seed {}".format)
def read(request, tmp_path_factory) -> ReadBack:
    made = filled(MadeRun(tmp_path_factory.mktemp("run")), request.param)
    forms = ("coco", "yolo", "voc", "csv", "jsonl")
    written = {form: made.write(form, images="copy", validation=0.3) for form in forms}
    found = read_all({form: dataset.path for form, dataset in written.items()} | {"parquet": made.root})
    return ReadBack(made, made.rows(), written, found)


def expected(rows: list[dict[str, Any]]) -> Boxes:
    """Class and edges of every detection, by image."""
    found: Boxes = {key: [] for key in KEYS}
    for row in rows:
        found[row["source_key"]].append((row["class"] or "object", edges(row)))
    return found


def clipped(box: list[float]) -> list[float] | None:
    """The part of a box that lies in the image, if any does."""
    left, top, right, bottom = box
    if right <= 0 or bottom <= 0 or left >= WIDTH or top >= HEIGHT:
        return None
    return [max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)]


def assert_same(found, wanted, within: float) -> None:
    assert found.keys() == wanted.keys()
    for key, boxes in wanted.items():
        assert [label for label, _ in found[key]] == [label for label, _ in boxes]
        for (_, one), (_, other) in zip(found[key], boxes, strict=True):
            assert one == pytest.approx(other, abs=within)


@needs_readers
def test_coco_boxes_are_exact(read):
    written, found = read.written["coco"], read.found["coco"]
    wanted = expected(read.rows)
    assert_same(read.boxes("coco", "pycocotools"), wanted, 1e-9)
    assert_same(read.boxes("coco", "supervision"), wanted, 1e-4)
    assert written.predictions == len(read.rows) == sum(map(len, found["pycocotools"].values()))
    assert written.skipped == {}
    assert {entry["split"] for entry in found["raw"].values()} == {"train", "val"}
    kept = {each["detection_id"]: each.get("score") for entry in found["raw"].values() for each in entry["annotations"]}
    assert kept == {row["detection_id"]: row["confidence"] for row in read.rows}


@needs_readers
def test_yolo_boxes_are_those_clipped_to_the_image(read):
    written = read.written["yolo"]
    segments = any(row["points"] for row in read.rows)
    wanted: Boxes = {key: [] for key in KEYS}
    for row in read.rows:
        box = edges(row)
        if segments and row["points"]:
            xs, ys = zip(*((point["x"], point["y"]) for point in row["points"]), strict=True)
            box = [min(xs), min(ys), max(xs), max(ys)]
        if (inside := clipped(box)) is not None:
            wanted[row["source_key"]].append((row["class"] or "object", inside))
    assert_same(read.boxes("yolo", "supervision"), wanted, 1e-3)
    outside = len(read.rows) - sum(map(len, wanted.values()))
    assert outside > 0
    assert written.skipped == {"box outside the image": outside}
    assert written.predictions == len(read.rows) - outside


@needs_readers
def test_voc_boxes_are_within_half_a_pixel(read):
    written = read.written["voc"]
    wanted = {
        key: [(label, inside) for label, box in boxes if (inside := clipped(box)) is not None]
        for key, boxes in expected(read.rows).items()
    }
    assert_same(read.boxes("voc", "supervision"), wanted, 0.5 + 1e-6)
    assert written.predictions == sum(map(len, wanted.values()))
    assert written.predictions + written.skipped["box outside the image"] == len(read.rows)


@needs_readers
def test_csv_holds_every_row(read):
    written, found = read.written["csv"], read.found["csv"]
    assert found["images"]["duckdb"] == len(found["images"]["rows"]) == len(KEYS) == written.images
    assert found["predictions"]["duckdb"] == len(read.rows) == written.predictions
    texts, numbers = ("file", "class", "detection_id"), ("x", "y", "width", "height")
    for one, row in zip(found["predictions"]["rows"], read.rows, strict=True):
        assert [float(one[name]) for name in numbers] == [row[name] for name in numbers]
        assert [one[name] or None for name in texts] == [row[name] for name in texts]
    counts = Counter(row["source_key"] for row in read.rows)
    counted = {image["source_key"]: int(image["predictions"]) for image in found["images"]["rows"]}
    assert counted == {key: counts[key] for key in KEYS}


@needs_readers
def test_json_lines_hold_every_row(read):
    written, found = read.written["jsonl"], read.found["jsonl"]
    assert found["duckdb"] == [len(KEYS), len(read.rows)] == [written.images, written.predictions]
    predictions = [prediction for image in found["pandas"] for prediction in image["predictions"]]
    for one, row in zip(predictions, read.rows, strict=True):
        assert (one["class"], one["detection_id"]) == (row["class"], row["detection_id"])
        assert edges(one) == pytest.approx(edges(row), abs=1e-9)
        assert len(one["points"] or ()) == len(row["points"] or ())


@needs_readers
def test_parquet_is_read_with_equal_counts(read):
    assert read.found["parquet"] == {"results": [len(KEYS)] * 2, "predictions": [len(read.rows)] * 2}
