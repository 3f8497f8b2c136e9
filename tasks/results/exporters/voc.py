"""Pascal VOC: an XML file for each image.

Corners are whole pixels counted from 1: a box's left and top edge and its right and bottom edge are rounded to the
nearest pixel border and 1 is added to each, as supervision and Roboflow do, so that a reader that takes 1 from each
gets the box back within half a pixel. Boxes are clipped to the image; ``truncated`` says so. The exact confidence
stands in ``confidence``; an outline in ``polygon``. Class names lose the characters that XML cannot hold;
``classes.json`` says which class a name stands for. The format has no keypoints.
"""

from __future__ import annotations

import json
from typing import IO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tasks.results.exporters.base import (
    IN_SIZE_UNKNOWN,
    OUTSIDE,
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
from tasks.results.exporters.classes import as_xml, distinct
from tasks.results.exporters.geometry import Box, Point, clip_outline
from tasks.results.exporters.target import Target

_DEPTH = 3
IMAGES = "JPEGImages"


class VocExporter(Exporter):
    """Writes Pascal VOC's detection format."""

    name = "voc"

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Opens the list of each split."""
        super().before(dataset, target, tally)
        self._names = distinct(dataset.detections.names, as_xml)
        self._lists: dict[str, IO[str]] = {
            split: target.stream(f"ImageSets/Main/{split}.txt") for split in dataset.splits
        }

    def convert(self, item: Item) -> Converted:
        """The file of one image; an image of unknown size is refused, as the format asks for the size."""
        if item.width is None or item.height is None:
            return refused(item, SIZE_UNKNOWN, IN_SIZE_UNKNOWN)
        root = self._head(item, item.width, item.height)
        found, skipped = placed(item)
        taken = []
        for prediction, box in found:
            inside = box.clipped(item.width, item.height)
            if inside is None:
                skipped[OUTSIDE] += 1
                continue
            taken.append(prediction)
            element = self._object(root, prediction, inside, truncated=inside != box)
            _add_outline(element, clip_outline(prediction.outline, item.width, item.height))
        self._lists[item.split].write(f"{item.stem}\n")
        indent(root)
        text = tostring(root, encoding="unicode") + "\n"
        return Converted(taken, skipped, {f"Annotations/{item.stem}.xml": text}, [f"{IMAGES}/{item.name}"])

    def finish(self) -> None:
        """Writes ``classes.json``: class by name in the annotations."""
        names = {self._names[name]: name for name in self.dataset.detections.names}
        self.target.write("classes.json", json.dumps(names, indent=2) + "\n")

    def _head(self, item: Item, width: int, height: int) -> Element:
        root = Element("annotation")
        _add(root, "folder", IMAGES)
        _add(root, "filename", item.name)
        source = SubElement(root, "source")
        _add(source, "database", f"run {self.dataset.run}")
        size = SubElement(root, "size")
        for name, value in (("width", width), ("height", height), ("depth", _DEPTH)):
            _add(size, name, str(value))
        segmented = any(prediction.outline for prediction in item.predictions)
        _add(root, "segmented", str(int(segmented)))
        return root

    def _object(self, root: Element, prediction: Prediction, box: Box, truncated: bool) -> Element:
        element = SubElement(root, "object")
        _add(element, "name", self._names[prediction.label])
        _add(element, "pose", "Unspecified")
        _add(element, "truncated", str(int(truncated)))
        _add(element, "difficult", "0")
        if prediction.confidence is not None:
            _add(element, "confidence", repr(prediction.confidence))
        edges = SubElement(element, "bndbox")
        for name, value in (("xmin", box.left), ("ymin", box.top), ("xmax", box.right), ("ymax", box.bottom)):
            _add(edges, name, _counted(value))
        return element


def _add_outline(element: Element, outline: tuple[Point, ...]) -> None:
    if outline:
        polygon = SubElement(element, "polygon")
        for number, (x, y) in enumerate(outline, start=1):
            _add(polygon, f"x{number}", _counted(x))
            _add(polygon, f"y{number}", _counted(y))


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text


def _counted(value: float) -> str:
    """A pixel's number, counted from 1; halves go up, so that equal boxes get equal sizes wherever they lie."""
    return str(int(value + 0.5) + 1)
