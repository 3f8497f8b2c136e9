"""JSON lines: ``images.jsonl``, one image a line, with its outputs and every prediction as it is in the tables."""

from __future__ import annotations

import json

from tasks.results.exporters.base import Converted, Dataset, Exporter, Item, Tally
from tasks.results.exporters.target import Target

IMAGES_FILE = "images.jsonl"
_ABOUT = ("file", "source_key", "name", "split", "frame", "width", "height", "outputs")


class JsonLinesExporter(Exporter):
    """Writes one file of JSON lines."""

    name = "jsonl"

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Opens the file."""
        super().before(dataset, target, tally)
        self._file = target.stream(IMAGES_FILE)

    def convert(self, item: Item) -> Converted:
        """The line of one image."""
        line = {name: getattr(item, name) for name in _ABOUT}
        line["predictions"] = [prediction.row for prediction in item.predictions]
        self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        return Converted(item.predictions, images=[f"images/{item.split}/{item.name}"])
