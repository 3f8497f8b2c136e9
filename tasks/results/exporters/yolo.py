"""YOLO: a text file of normalised boxes, or of outlines, for each image.

Where any prediction has an outline, all labels are outlines, as trainers read one kind only: a box becomes its four
corners. Otherwise labels are boxes: ``class x_centre y_centre width height``. Coordinates are shares of the image's
size, clipped to it. ``dataset.yaml`` names no folder of this machine, so the dataset can be moved;
``classes.txt`` has a class a line. Keypoints and confidences have no place in these labels.
"""

from __future__ import annotations

from tasks.results.exporters.base import (
    IN_SIZE_UNKNOWN,
    OUTSIDE,
    SIZE_UNKNOWN,
    TRAIN,
    VALIDATION,
    Converted,
    Exporter,
    Item,
    Prediction,
    placed,
    refused,
)
from tasks.results.exporters.classes import as_line, as_yaml, distinct
from tasks.results.exporters.geometry import Box, clip_outline

_DIGITS = 8
"""Decimal places: a hundredth of a pixel in an image a million pixels wide."""


class YoloExporter(Exporter):
    """Writes labels for detection or segmentation."""

    name = "yolo"

    def convert(self, item: Item) -> Converted:
        """The labels of one image; without any, its file is empty, which makes it a negative example."""
        size_known = item.width is not None and item.height is not None
        if item.predictions and not size_known:
            return refused(item, SIZE_UNKNOWN, IN_SIZE_UNKNOWN)
        found, skipped = placed(item)
        taken, lines = [], []
        for prediction, box in found:
            line = self._line(item, prediction, box)
            if line is None:
                skipped[OUTSIDE] += 1
            else:
                taken.append(prediction)
                lines.append(line + "\n")
        labels = {f"labels/{item.split}/{item.stem}.txt": "".join(lines)}
        return Converted(taken, skipped, labels, [f"images/{item.split}/{item.name}"])

    def finish(self) -> None:
        """Writes ``dataset.yaml`` and ``classes.txt``."""
        names = self.dataset.detections.names
        lines = distinct(names, as_line)
        self.target.write("classes.txt", "".join(f"{lines[name]}\n" for name in names))
        validation = VALIDATION if VALIDATION in self.dataset.splits else TRAIN
        head = f"train: images/{TRAIN}\nval: images/{validation}\nnc: {len(names)}\nnames:"
        listed = "".join(f"\n  {place}: {as_yaml(name)}" for place, name in enumerate(names)) or " {}"
        self.target.write("dataset.yaml", f"{head}{listed}\n")

    def _line(self, item: Item, prediction: Prediction, box: Box) -> str | None:
        assert item.width is not None and item.height is not None
        values = self._label(prediction, box, item.width, item.height)
        if not values:
            return None
        return " ".join([str(self.dataset.detections.index(prediction.label)), *map(_share, values)])

    def _label(self, prediction: Prediction, box: Box, width: int, height: int) -> tuple[float, ...]:
        if self.dataset.outlines:
            outline = clip_outline(prediction.outline or box.corners, width, height)
            return tuple(value for x, y in outline for value in (x / width, y / height))
        inside = box.clipped(width, height)
        if inside is None:
            return ()
        centre = (inside.left + inside.right) / 2 / width, (inside.top + inside.bottom) / 2 / height
        return (*centre, inside.width / width, inside.height / height)


def _share(value: float) -> str:
    return f"{value:.{_DIGITS}f}"
