"""A run folder to fill, for tests."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    name: str
    key: str
    width: int | None = 640
    height: int | None = 480


def detections(*names: str, **fields: Any) -> dict[str, Any]:
    boxes = [
        {"x": 50.0, "y": 40.0, "width": 20.0, "height": 10.0, "confidence": 0.5, "class": name, "class_id": 1}
        | {"detection_id": f"{name}-{place}", **fields}
        for place, name in enumerate(names)
    ]
    size = {"width": 100, "height": 80} if names else {"width": None, "height": None}
    return {"image": size, "predictions": boxes}


class Run:
    """A run folder to fill with exported results."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.export = root / "export"
        self.export.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.export / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def lines(self, results: Iterable[dict[str, Any]], number: int = 0) -> Path:
        text = "".join(json.dumps(result) + "\n" for result in results)
        return self.write(f"aggregated-results/aggregated-results-{number:05d}.jsonl", text)
