"""COCO: one JSON file a split, with boxes, outlines and keypoints.

``annotations/instances_<split>.json`` refers to images by their name in ``images/<split>``. Category and annotation
ids count from 1, boxes are ``[left, top, width, height]`` in pixels and exact, also where they reach out of the image.
``score`` is the confidence; ``output``, ``detection_id``, ``tracker_id`` and ``data`` are added where they are known,
which readers of the format ignore.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from tasks.results.exporters.base import (
    IN_SIZE_UNKNOWN,
    SIZE_UNKNOWN,
    Converted,
    Dataset,
    Exporter,
    Item,
    Prediction,
    Tally,
    placed,
    refused,
)
from tasks.results.exporters.facts import keypoint_name
from tasks.results.exporters.geometry import Box, area
from tasks.results.exporters.target import Target

TWICE = "keypoint of a name that its prediction has already"
_VISIBLE = 2
_FURTHER = ("output", "detection_id", "tracker_id", "data")


class _Spool:
    """The items of one JSON list, on disk until the file they belong to is put together."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def add(self, value: Mapping[str, Any]) -> None:
        self._file.write(",\n" if self.count else "\n")
        self._file.write(_json(value))
        self.count += 1

    def copy_to(self, file: IO[str]) -> None:
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)


class CocoExporter(Exporter):
    """Writes COCO's object detection format."""

    name = "coco"

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Opens the lists of images and annotations of each split."""
        super().before(dataset, target, tally)
        self._images = {split: _Spool(target.spool()) for split in dataset.splits}
        self._annotations = {split: _Spool(target.spool()) for split in dataset.splits}

    def convert(self, item: Item) -> Converted:
        """One image and its annotations; an image of unknown size is refused, as the format asks for the size."""
        if item.width is None or item.height is None:
            return refused(item, SIZE_UNKNOWN, IN_SIZE_UNKNOWN)
        number = 1 + sum(spool.count for spool in self._images.values())
        self._images[item.split].add(
            {"id": number, "file_name": item.name, "width": item.width, "height": item.height}
            | {"source_key": item.source_key}
        )
        found, skipped = placed(item)
        for prediction, box in found:
            self._annotations[item.split].add(self._annotation(number, prediction, box, skipped))
        return Converted([prediction for prediction, _ in found], skipped, images=[f"images/{item.split}/{item.name}"])

    def finish(self) -> None:
        """Puts the file of each split together."""
        head = {"description": f"Predictions of run {self.dataset.run}", "version": "1.0"}
        categories = [self._category(place, name) for place, name in enumerate(self.dataset.detections.names)]
        for split in self.dataset.splits:
            file = self.target.stream(f"annotations/instances_{split}.json")
            file.write(f'{{"info": {_json(head)},\n"licenses": [],\n"categories": {_json(categories)},\n"images": [')
            self._images[split].copy_to(file)
            file.write('],\n"annotations": [')
            self._annotations[split].copy_to(file)
            file.write("]}\n")

    def _category(self, place: int, name: str) -> dict[str, Any]:
        category = {"id": place + 1, "name": name, "supercategory": ""}
        keypoints = self.dataset.keypoints.get(name)
        return category | ({"keypoints": list(keypoints), "skeleton": []} if keypoints else {})

    def _annotation(self, image: int, prediction: Prediction, box: Box, skipped: Counter[str]) -> dict[str, Any]:
        outline = prediction.outline
        annotation = {
            "id": 1 + sum(spool.count for spool in self._annotations.values()),
            "image_id": image,
            "category_id": self.dataset.detections.index(prediction.label) + 1,
            "bbox": [box.left, box.top, prediction.row["width"], prediction.row["height"]],
            "area": area(outline) if outline else box.width * box.height,
            "segmentation": [[value for point in outline for value in point]] if outline else [],
            "iscrowd": 0,
        }
        if prediction.confidence is not None:
            annotation["score"] = prediction.confidence
        annotation |= self._keypoints(prediction, skipped)
        return annotation | {name: prediction.row[name] for name in _FURTHER if prediction.row[name] is not None}

    def _keypoints(self, prediction: Prediction, skipped: Counter[str]) -> dict[str, Any]:
        found = prediction.row["keypoints"]
        names = self.dataset.keypoints.get(prediction.label)
        if not found or not names:
            return {}
        seen = dict[str, tuple[float, float]]()
        for name, x, y in _known(found):
            skipped[TWICE] += name in seen
            seen.setdefault(name, (x, y))
        triples = [(*seen[name], _VISIBLE) if name in seen else (0, 0, 0) for name in names]
        return {"keypoints": [value for triple in triples for value in triple], "num_keypoints": len(seen)}


def _known(keypoints: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float, float]]:
    for position, keypoint in enumerate(keypoints):
        if keypoint["x"] is not None and keypoint["y"] is not None:
            yield keypoint_name(dict(keypoint), position), keypoint["x"], keypoint["y"]


def _json(value: Any) -> str:
    # ASCII: pycocotools reads in whatever encoding the machine is set to.
    return json.dumps(value, allow_nan=False)
