"""A run folder with tables and source images, for tests of exporters."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tasks.core.options import DatasetOptions
from tasks.media.names import encode_name
from tasks.results.exporters.datasets import write_datasets
from tasks.results.exporters.description import WrittenDataset
from tasks.results.schemas import KIND_KEY, OUTPUT_KEY, PREDICTIONS_SCHEMA, results_schema
from tasks.results.writer import RowWriter

WIDTH, HEIGHT = 64, 48
HOSTILE = (
    *(
        "../../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a_b",
        ".",
        "..",
        "...",
        "-dash",
        "--rm",
        "Cat",
        "cat",
        "nul\0",
        "nul\1",
    ),
    *("two\nlines", "cr\rlf", "tab\t", "\u2028line", "<b>&\"'</b>", "]]>", "=1+1", "@x", "'quoted", "#c", "{{x}}"),
    *("null", "~", "yes", "1", "0: x", "é漢😀", "e\u0301", "trailing. ", "C:", "x" * 300, "漢" * 100),
)
OUTPUTS = (
    pa.field("focus", pa.float64(), metadata={OUTPUT_KEY: b"focus", KIND_KEY: b"value"}),
    pa.field("found_count", pa.int64(), metadata={OUTPUT_KEY: b"found", KIND_KEY: b"count"}),
    pa.field("other_count", pa.int64(), metadata={OUTPUT_KEY: b"other", KIND_KEY: b"count"}),
)


def detection(name: str | None = "car", **fields: Any) -> dict[str, Any]:
    box = {"x": 20.0, "y": 16.0, "width": 10.0, "height": 8.0, "confidence": 0.5}
    return {"output": "found", "class": name, "image_width": WIDTH, "image_height": HEIGHT} | box | fields


def classification(name: str | None, confidence: float | None = 0.5, **fields: Any) -> dict[str, Any]:
    return {"output": "found", "class": name, "confidence": confidence} | fields


def outline(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


class MadeRun:
    """A run of some images.

    Args:
        folder: where the run and its source are made.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "0123456789abcdef"
        self.root.mkdir(parents=True)
        self.source = folder / "source"
        self.out = folder / "datasets"
        self.opened: list[str] = []

    def image(self, key: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        path = self.source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (len(key) % 256, 90, 128)).save(path)

    def images(self, *keys: str) -> None:
        for key in keys:
            self.image(key)

    def tables(
        self, images: dict[str, list[dict[str, Any]]], outputs: Iterable[pa.Field] = OUTPUTS, **fields: Any
    ) -> None:
        """Writes both tables: rows of predictions by key of the image."""
        rows = sorted((encode_name(key), key, found) for key, found in images.items())
        with (
            RowWriter(self.root / "results.parquet", results_schema(outputs)) as results,
            RowWriter(self.root / "predictions.parquet", PREDICTIONS_SCHEMA) as predictions,
        ):
            for file, key, found in rows:
                about = {"file": file, "source_key": key}
                results.write(about | {"width": WIDTH, "height": HEIGHT, "found_count": len(found)} | fields)
                for row in found:
                    predictions.write(about | row)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.root / "predictions.parquet").to_pylist()
        return found

    def write(self, form: str, **options: Any) -> WrittenDataset:
        """Writes one dataset."""
        (written,) = write_datasets(self.root, self.out, DatasetOptions(formats=[form], **options), self)
        return written

    def open_source(self, source_key: str) -> IO[bytes]:
        self.opened.append(source_key)
        return (self.source / source_key).open("rb")

    def local_path(self, source_key: str) -> Path | None:
        return self.source / source_key


def read_yaml(text: str) -> Any:
    """What YAML text says; Prefect brings the library, which has no types."""
    return import_module("yaml").safe_load(text)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def edges(row: dict[str, Any]) -> list[float]:
    x, y, width, height = row["x"], row["y"], row["width"], row["height"]
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
