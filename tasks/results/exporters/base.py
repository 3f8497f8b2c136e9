"""What an exporter is given, and what it gives back.

One format is one subclass of :class:`Exporter`. Its hooks are called in this order::

    before(dataset, target, tally)   once: what is known of the whole dataset, and where files go
    convert(item) -> Converted       for each image: what it becomes
    after(item, present)             for each image: its files are written, and its picture is there or not
    finish()                         once: files about the whole, such as classes, statistics, index

A package adds a format by naming its subclass in the entry-point group ``darkroom.exporters``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tasks.core.options import DatasetOptions
from tasks.results.exporters.classes import Classes
from tasks.results.exporters.geometry import Box, Point
from tasks.results.exporters.target import Target

TRAIN = "train"
VALIDATION = "val"

SIZE_UNKNOWN = "image whose size is not known"
IN_SIZE_UNKNOWN = "prediction in an image whose size is not known"
NO_BOX = "prediction without a box"
NO_CLASSIFICATION = "prediction with a box, where others are classifications"
NEGATIVE_BOX = "box of negative size"
OUTSIDE = "box outside the image"
OTHER_IMAGE = "prediction in an image of another size, such as a crop"
SAME_CLASS = "prediction of a class that the image has already"
NO_CLASS = "image without a class"
NO_RESULT = "prediction without a row in results.parquet"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of ``predictions.parquet``."""

    row: Mapping[str, Any]
    """Its columns as they are, without the image's."""
    label: str
    """The class, or ``object`` where it has none."""
    box: Box | None
    """Pixels; ``None`` for a classification."""
    outline: tuple[Point, ...]
    """Three points or more, in pixels, or none."""

    @property
    def confidence(self) -> float | None:
        """0 to 1, or ``None``."""
        confidence: float | None = self.row["confidence"]
        return confidence


@dataclass(frozen=True, slots=True)
class Item:
    """One image, or one frame of a video, with its predictions."""

    file: str
    """Name as staged."""
    source_key: str
    frame: int | None
    """Number of the frame, or ``None`` for an image."""
    name: str
    """File name of the image in the dataset; no two differ in their extension only."""
    split: str
    """``train`` or ``val``."""
    width: int | None
    """Pixels as the workflow saw the image, or ``None`` where nobody knows."""
    height: int | None
    predictions: Sequence[Prediction]
    """Those of the outputs that were asked for."""
    outputs: Mapping[str, Any]
    """The workflow's columns of ``results.parquet``."""

    @property
    def stem(self) -> str:
        """The name without its extension, unique in the dataset."""
        return stem(self.name)


def stem(name: str) -> str:
    """A file's name without its extension."""
    dot = name.rfind(".")
    return name[:dot] if dot > 0 else name


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before its first image."""

    run: str
    """Key of the run."""
    options: DatasetOptions
    splits: tuple[str, ...]
    images: int
    detections: Classes
    """Classes of the predictions that have a box."""
    classifications: Classes
    """Classes of those that have none."""
    outlines: bool
    """Whether any prediction has an outline."""
    keypoints: Mapping[str, tuple[str, ...]]
    """Names of the keypoints of each class that has some, in their order."""
    columns: tuple[str, ...]
    """Names of a prediction's columns."""
    outputs: tuple[str, ...]
    """Names of the workflow's columns of an image."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What one image becomes."""

    taken: Sequence[Prediction] = ()
    """The predictions that the dataset now holds."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many of the others were left out, by reason."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files by their path in the dataset, with slashes."""
    images: Sequence[str] = ()
    """Where the image itself goes, if images are wanted."""
    refused: str = ""
    """Why the dataset does not have the image at all; empty where it does."""


@dataclass
class Tally:
    """What a dataset holds, counted while it is written."""

    images: int = 0
    image_files: int = 0
    """Images that lie in the dataset themselves."""
    predictions: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """Predictions by class."""
    splits: Counter[str] = field(default_factory=Counter)
    """Images by split."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Images and predictions left out, by reason."""

    def add(self, item: Item, converted: Converted, present: bool) -> None:
        """Counts an image.

        Args:
            item: the image.
            converted: what became of it.
            present: whether the image itself lies in the dataset.
        """
        self.skipped.update(converted.skipped)
        if converted.refused:
            self.skipped[converted.refused] += 1
            return
        self.images += 1
        self.image_files += present
        self.splits[item.split] += 1
        self.predictions += len(converted.taken)
        self.classes.update(prediction.label for prediction in converted.taken)


class Exporter(ABC):
    """One dataset format. An object of it writes one dataset."""

    name: ClassVar[str]
    """The format's name, the same as its entry point's."""
    version: ClassVar[int] = 1
    """Raised when what is written changes: datasets of an earlier one are then written afresh."""

    dataset: Dataset
    target: Target
    tally: Tally

    def before(self, dataset: Dataset, target: Target, tally: Tally) -> None:
        """Begins the dataset.

        Args:
            dataset: what is known of the whole.
            target: takes the files that :meth:`convert` does not give back.
            tally: counts of what is written; complete when :meth:`finish` is called.
        """
        self.dataset = dataset
        self.target = target
        self.tally = tally

    @abstractmethod
    def convert(self, item: Item) -> Converted:
        """What one image becomes; called in the order of the images' names."""

    def after(self, item: Item, present: bool) -> None:  # noqa: B027 - a hook, empty on purpose
        """Called when the files of an image that was not refused are written.

        Args:
            item: the image.
            present: whether the image itself lies in the dataset.
        """

    def finish(self) -> None:  # noqa: B027 - a hook, empty on purpose
        """Writes the files about the whole dataset, beside ``dataset.json``, which every dataset gets."""


def placed(item: Item) -> tuple[list[tuple[Prediction, Box]], Counter[str]]:
    """The predictions that have a place in the image, with their boxes, and how many have none, by reason.

    A box in an image of another size than the workflow's (a crop, a resized copy) has none: how the two images lie
    over each other is not known.
    """
    found: list[tuple[Prediction, Box]] = []
    skipped: Counter[str] = Counter()
    for prediction in item.predictions:
        box = prediction.box
        if box is None:
            skipped[NO_BOX] += 1
        elif _elsewhere(prediction, item):
            skipped[OTHER_IMAGE] += 1
        elif box.width < 0 or box.height < 0:
            skipped[NEGATIVE_BOX] += 1
        else:
            found.append((prediction, box))
    return found, skipped


def refused(item: Item, reason: str, predictions: str) -> Converted:
    """An image that the dataset does not have.

    Args:
        item: the image.
        reason: why.
        predictions: the reason under which its predictions are counted.
    """
    skipped = {predictions: len(item.predictions)} if item.predictions else {}
    return Converted(skipped=skipped, refused=reason)


def _elsewhere(prediction: Prediction, item: Item) -> bool:
    width, height = prediction.row["image_width"], prediction.row["image_height"]
    return None not in (width, height, item.width, item.height) and (width, height) != (item.width, item.height)
