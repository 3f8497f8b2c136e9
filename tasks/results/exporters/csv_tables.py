"""CSV: ``predictions.csv``, one row a prediction, and ``images.csv``, one row an image.

The columns of ``predictions.csv`` are those of ``predictions.parquet``, with every row as it is there, and the image's
``name`` in the dataset and ``split``; ``images.csv`` also has the workflow's outputs. What is a list or a structure is
JSON text; a missing value is empty. Text that a spreadsheet might run as a formula (``=``, ``+``, ``-``, ``@``,
tab or carriage return at its beginning) gets an apostrophe before it, and so does text that begins with one: taking
one leading apostrophe away from text gives what was there. NUL, which readers stumble over, becomes U+FFFD.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any

from tasks.results.exporters.base import Converted, Dataset, Exporter, Item, Tally
from tasks.results.exporters.target import Target

IMAGES_FILE = "images.csv"
PREDICTIONS_FILE = "predictions.csv"
_RISKY = frozenset("=+-@\t\r'")
_BOTH = ("file", "source_key", "name", "split", "frame")
_IMAGE = (*_BOTH, "width", "height", "predictions")


class CsvExporter(Exporter):
    """Writes two tables."""

    name = "csv"

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Opens both tables and writes their heads."""
        super().before(dataset, target, tally)
        self._images = csv.writer(target.stream(IMAGES_FILE))
        self._images.writerow(map(cell, _head(_IMAGE, dataset.outputs)))
        self._predictions = csv.writer(target.stream(PREDICTIONS_FILE))
        self._predictions.writerow(map(cell, _head(_BOTH, dataset.columns)))

    def convert(self, item: Item) -> Converted:
        """The rows of one image."""
        both = [item.file, item.source_key, item.name, item.split, item.frame]
        image = [*both, item.width, item.height, len(item.predictions)]
        self._images.writerow(map(cell, [*image, *(item.outputs[name] for name in self.dataset.outputs)]))
        for prediction in item.predictions:
            values = (prediction.row[name] for name in self.dataset.columns)
            self._predictions.writerow(map(cell, [*both, *values]))
        return Converted(item.predictions, images=[f"images/{item.split}/{item.name}"])


def _head(fixed: tuple[str, ...], columns: Iterable[str]) -> list[str]:
    """Names that differ also without regard to case, as databases want them."""
    head, taken = [*fixed], {name.casefold() for name in fixed}
    for name in columns:
        chosen = name
        while chosen.casefold() in taken:
            chosen = f"output_{chosen}"
        taken.add(chosen.casefold())
        head.append(chosen)
    return head


def cell(value: Any) -> Any:
    """A value as it stands in a table; see the module's text for what becomes of text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")
    return f"'{text}" if text and text[0] in _RISKY else text
