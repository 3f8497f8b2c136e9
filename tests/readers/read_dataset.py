"""Reads datasets with the libraries of their own formats and prints what they see, as JSON.

Run by an interpreter that has those libraries, which the project itself does without: ``read_dataset.py FORMAT PATH``,
the last two as often as there are datasets.
They are imported by name, so that the project's own tools can look at this file.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Boxes = dict[str, list[list[Any]]]
"""Class, left, top, right and bottom of each detection, by image."""


def coco(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"pycocotools": {}, "supervision": {}, "raw": {}, "classes": [], "mask_pixels": {}}
    for file in sorted(path.glob("annotations/instances_*.json")):
        split = file.stem.removeprefix("instances_")
        api = import_module("pycocotools.coco").COCO(str(file))
        found["classes"] = [category["name"] for category in api.loadCats(api.getCatIds())]
        for image in api.loadImgs(api.getImgIds()):
            annotations = api.loadAnns(api.getAnnIds(imgIds=[image["id"]]))
            found["raw"][image["file_name"]] = {"image": image, "annotations": annotations, "split": split}
            found["pycocotools"][image["file_name"]] = [
                [api.loadCats([each["category_id"]])[0]["name"], *_edges(each["bbox"])] for each in annotations
            ]
            masks = [api.annToMask(each) for each in annotations if each["segmentation"]]
            found["mask_pixels"][image["file_name"]] = [int(mask.sum()) for mask in masks]
        detections = import_module("supervision").DetectionDataset
        loaded = detections.from_coco(str(path / "images" / split), str(file), force_masks=False)
        found["supervision"] |= _boxes(loaded)
    return found


def yolo(path: Path) -> dict[str, Any]:
    detections = import_module("supervision").DetectionDataset
    described = path / "dataset.yaml"
    found: dict[str, Any] = {"yaml": import_module("yaml").safe_load(described.read_text("utf-8"))}
    found["supervision"] = {}
    for labels in sorted(path.glob("labels/*")):
        loaded = detections.from_yolo(str(path / "images" / labels.name), str(labels), str(described))
        found["supervision"] |= _boxes(loaded)
    return found


def voc(path: Path) -> dict[str, Any]:
    detections = import_module("supervision").DetectionDataset
    loaded = detections.from_pascal_voc(str(path / "JPEGImages"), str(path / "Annotations"))
    return {"supervision": _boxes(loaded)}


def classes(path: Path) -> dict[str, Any]:
    folders = import_module("supervision").ClassificationDataset
    found: dict[str, list[list[str]]] = {}
    for split in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        loaded = folders.from_folder_structure(str(split))
        found[split.name] = [
            [loaded.classes[int(label.class_id[0])], Path(image).name] for image, label in loaded.annotations.items()
        ]
    return {"supervision": found, "labels": _csv(path / "labels.csv")}


def csv(path: Path) -> dict[str, Any]:
    return {"images": _csv(path / "images.csv"), "predictions": _csv(path / "predictions.csv")}


def jsonl(path: Path) -> dict[str, Any]:
    file = str(path / "images.jsonl")
    images = import_module("pandas").read_json(file, lines=True, dtype=False, convert_dates=False)
    database = import_module("duckdb").connect()
    counts = database.execute("SELECT count(*), sum(len(predictions)) FROM read_json(?)", [file]).fetchone()
    return {"pandas": json.loads(images.to_json(orient="records")), "duckdb": [int(count or 0) for count in counts]}


def parquet(path: Path) -> dict[str, Any]:
    counts: dict[str, list[int]] = {}
    for name in ("results", "predictions"):
        file = str(path / f"{name}.parquet")
        table = import_module("pyarrow.parquet").read_table(file)
        database = import_module("duckdb").connect()
        (counted,) = database.execute("SELECT count(*) FROM read_parquet(?)", [file]).fetchone()
        counts[name] = [table.num_rows, counted]
    return counts


def _csv(file: Path) -> dict[str, Any]:
    everything = import_module("pandas").read_csv(file, keep_default_na=False, dtype=str)
    database = import_module("duckdb").connect()
    query = "SELECT count(*) FROM read_csv(?, all_varchar = true, header = true)"
    (counted,) = database.execute(query, [str(file)]).fetchone()
    return {"rows": everything.to_dict("records"), "duckdb": counted}


def _edges(box: list[float]) -> list[float]:
    left, top, width, height = box
    return [left, top, left + width, top + height]


def _boxes(dataset: Any) -> Boxes:
    return {
        Path(image).name: [
            [dataset.classes[int(number)], *map(float, edges)]
            for number, edges in zip(found.class_id if len(found) else [], found.xyxy, strict=True)
        ]
        for image, found in dataset.annotations.items()
    }


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "classification-folders": classes,
    "csv": csv,
    "jsonl": jsonl,
    "parquet": parquet,
}


def main() -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells what it does
        pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
        found = {form: READERS[form](Path(path)) for form, path in pairs}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
