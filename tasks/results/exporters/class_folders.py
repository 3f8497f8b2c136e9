"""Classification folders: ``<split>/<class>/<image>``, as image classifiers are trained on.

An image lies in the folder of each class that it is classified as. Where a run has no classification at all, its
detections take their place: an image lies in the folder of each class detected in it, once, with the highest
confidence. Which prediction put an image where stands in ``labels.csv``, also where no images are wanted. Folders have
names that any file system holds; ``classes.json`` says which class each stands for.
"""

from __future__ import annotations

import csv
import json
from collections import Counter

from tasks.results.exporters.base import (
    NO_CLASS,
    NO_CLASSIFICATION,
    SAME_CLASS,
    Converted,
    Dataset,
    Exporter,
    Item,
    Prediction,
    Tally,
)
from tasks.results.exporters.classes import as_folder, distinct
from tasks.results.exporters.csv_tables import cell
from tasks.results.exporters.target import Target

LABELS_FILE = "labels.csv"
_COLUMNS = ("split", "folder", "name", "class", "confidence", "output", "file", "source_key", "frame", "present")


class ClassFoldersExporter(Exporter):
    """Sorts images into a folder a class."""

    name = "classification-folders"

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Chooses the folders and opens the list of labels."""
        super().before(dataset, target, tally)
        self._by_box = not dataset.classifications.names
        classes = dataset.detections if self._by_box else dataset.classifications
        self._folders = distinct(classes.names, as_folder, str.casefold)
        self._labels = csv.writer(target.stream(LABELS_FILE))
        self._labels.writerow(_COLUMNS)
        self._best: dict[str, Prediction] = {}

    def convert(self, item: Item) -> Converted:
        """The folders of one image; an image without a class is refused."""
        best, skipped = self._choose(item)
        self._best = best
        images = [f"{item.split}/{self._folders[label]}/{item.name}" for label in best]
        return Converted(tuple(best.values()), skipped, images=images, refused="" if best else NO_CLASS)

    def after(self, item: Item, present: bool) -> None:
        """Lists the image once a class."""
        for label, prediction in self._best.items():
            place = (item.split, self._folders[label], item.name, label, prediction.confidence)
            origin = (prediction.row["output"], item.file, item.source_key, item.frame, int(present))
            self._labels.writerow(map(cell, (*place, *origin)))

    def finish(self) -> None:
        """Writes ``classes.json``: class by folder."""
        names = {folder: name for name, folder in self._folders.items()}
        self.target.write("classes.json", json.dumps(names, indent=2, sort_keys=True) + "\n")

    def _choose(self, item: Item) -> tuple[dict[str, Prediction], Counter[str]]:
        """The most confident prediction of each class, sorted by class, and how many others there are."""
        best: dict[str, Prediction] = {}
        skipped: Counter[str] = Counter()
        for prediction in item.predictions:
            if prediction.box is not None and not self._by_box:
                skipped[NO_CLASSIFICATION] += 1
                continue
            known = best.get(prediction.label)
            skipped[SAME_CLASS] += known is not None
            if known is None or _confidence(prediction) > _confidence(known):
                best[prediction.label] = prediction
        return dict(sorted(best.items())), skipped


def _confidence(prediction: Prediction) -> float:
    return -1.0 if prediction.confidence is None else prediction.confidence
