"""Results as the batch server exports them, made up: ``python -m tests.benchmarks.made_results FOLDER IMAGES``.

Every image has ten detections with the fields that the engine writes, four plain outputs and an image. Shards of 500
images come in any order, in 20 files; in each shard one comes twice, and one is not in the manifest.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.media.manifest import ManifestRow, write_rows

FILES, SHARD = 20, 500
DETECTIONS = 10
CLASSES = ("car", "truck", "person", "bicycle", "bus", "traffic light", "dog")


def main() -> None:
    folder, images = Path(sys.argv[1]), int(sys.argv[2])
    choice = random.Random(11)
    names = [f"line-{n // 40_000:02d}_camera-{n // 4_000 % 10}_IMG_{n:08d}_{n * 7919:08x}.jpg" for n in range(images)]
    write_rows(folder / "manifest.parquet", map(_manifest_row, names))
    for name in names:
        path = folder / "export" / "images-archives" / name / "annotated.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
    results = folder / "export" / "aggregated-results"
    results.mkdir()
    lines = _lines(names, choice)
    for number in range(FILES):
        with (results / f"aggregated-results-{number:05d}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(islice(lines, -(-images * (SHARD + 2) // SHARD // FILES)))


def _manifest_row(name: str) -> ManifestRow:
    return ManifestRow(name.replace("_", "/"), name, 500_000, None, None, width=1920, height=1080)


def _lines(names: list[str], choice: random.Random) -> Iterator[str]:
    shards = [names[start : start + SHARD] for start in range(0, len(names), SHARD)]
    choice.shuffle(shards)
    for shard in shards:
        for number, name in enumerate(shard):
            line = json.dumps(_result(name, choice)) + "\n"
            yield line
            if number == 0:
                yield line
                yield json.dumps(_result("unknown_" + name, choice)) + "\n"


def _result(name: str, choice: random.Random) -> dict[str, Any]:
    found = [_detection(choice) for _ in range(DETECTIONS)]
    return {
        "image": name,
        "count": len(found),
        "focus": choice.uniform(0, 1000),
        "sharp": choice.random() < 0.5,
        "label": choice.choice(CLASSES),
        "predictions": {"image": {"width": 1920, "height": 1080}, "predictions": found},
        "annotated": {"type": "image", "file": f"{name}/annotated.jpg"},
    }


def _detection(choice: random.Random) -> dict[str, Any]:
    class_id = choice.randrange(len(CLASSES))
    return {
        "width": choice.uniform(5, 300),
        "height": choice.uniform(5, 300),
        "x": choice.uniform(0, 1920),
        "y": choice.uniform(0, 1080),
        "confidence": choice.random(),
        "class_id": class_id,
        "class": CLASSES[class_id],
        "detection_id": str(uuid.UUID(int=choice.getrandbits(128), version=4)),
        "parent_id": "image",
    }


if __name__ == "__main__":
    main()
