"""``dataset.json``: what a dataset holds, and by which it is told whether it has to be written again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from tasks.results.exporters.base import Dataset, Exporter, Tally
from tasks.results.exporters.target import Target, measure

DATASET_FILE = "dataset.json"
DATASET_SCHEMA = "dataset/1"


@dataclass(frozen=True)
class WrittenDataset:
    """A dataset that lies there whole."""

    format: str
    path: Path
    """Its folder or archive."""
    files: int
    """Files in it, beside ``dataset.json``."""
    bytes: int
    """Bytes in them, before packing; links have none."""
    images: int
    """Images that it tells of, whether they lie in it or not."""
    predictions: int
    """Predictions that it holds."""
    skipped: Mapping[str, int]
    """Images and predictions that it does not hold, by reason."""
    fresh: bool
    """Whether it was written by this call; false where it was there already."""


def fingerprint(exporter: type[Exporter], dataset: Dataset, tables: tuple[Path, ...]) -> str:
    """The same for two datasets that would hold the same annotations and pictures, and different otherwise."""
    written_by = [DATASET_SCHEMA, exporter.__module__, exporter.__qualname__, exporter.version]
    whole = [*written_by, dataset.run, _options(dataset), *map(_digest, tables)]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def describe(name: str, mark: str, dataset: Dataset, tally: Tally, target: Target) -> dict[str, Any]:
    """The content of ``dataset.json``, in an order that only what is in the dataset decides.

    Args:
        name: the format.
        mark: the dataset's fingerprint.
        dataset: what was known before it was written.
        tally: what it holds.
        target: where its files are, all of them by now.
    """
    return {
        "schema": DATASET_SCHEMA,
        "format": name,
        "run": dataset.run,
        "options": _options(dataset),
        "images": tally.images,
        "image_files": tally.image_files,
        "predictions": tally.predictions,
        "classes": dict(sorted(tally.classes.items())),
        "splits": {split: tally.splits[split] for split in dataset.splits},
        "skipped": {reason: count for reason, count in sorted(tally.skipped.items()) if count},
        "files": target.files,
        "bytes": target.bytes,
        "fingerprint": mark,
    }


def find(place: Path, mark: str) -> WrittenDataset | None:
    """The dataset at ``place`` if it has this fingerprint and all its files, else ``None``."""
    try:
        content = json.loads(_read(place))
        if content["fingerprint"] != mark or measure(place, DATASET_FILE) != (content["files"], content["bytes"]):
            return None
        return written(content, place, fresh=False)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        # Whatever lies there is no dataset of ours, or no longer whole.
        return None


def written(content: Mapping[str, Any], place: Path, fresh: bool) -> WrittenDataset:
    """The record of a dataset from the content of its ``dataset.json``."""
    same = {name: content[name] for name in ("format", "files", "bytes", "images", "predictions", "skipped")}
    return WrittenDataset(**same, path=place, fresh=fresh)


def _read(place: Path) -> bytes:
    if place.is_dir():
        return (place / DATASET_FILE).read_bytes()
    with ZipFile(place) as archive:
        return archive.read(DATASET_FILE)


def _options(dataset: Dataset) -> dict[str, Any]:
    options = dataset.options.model_dump(mode="json", exclude={"formats"})
    return options | {"outputs": sorted(set(options["outputs"]))}


def _digest(table: Path) -> str:
    with table.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
