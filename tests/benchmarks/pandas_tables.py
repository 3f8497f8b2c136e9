"""What ``build_tables`` does, done with pandas: ``python pandas_tables.py FOLDER OUT [arrow]``.

Runs in the environment of the readers. It reads and flattens file by file, so that JSON's objects never are in memory
all at once; then it keeps one result for each file of the manifest, sorts, and writes both tables with the same
columns. Plainly with ``read_json`` and a frame of the detections' dictionaries, which is quicker than
``json_normalize``; with ``arrow``, on Arrow's reader and types.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np  # type: ignore[import-not-found, unused-ignore]
import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

PREDICTION_COLUMNS = {
    "file": "str",
    "source_key": "str",
    "frame": "Int64",
    "time_offset": "float64",
    "output": "str",
    "detection_id": "str",
    "class": "str",
    "class_id": "Int64",
    "confidence": "float64",
    "x": "float64",
    "y": "float64",
    "width": "float64",
    "height": "float64",
    "image_width": "Int64",
    "image_height": "Int64",
    "points": "object",
    "keypoints": "object",
    "tracker_id": "Int64",
    "data": "str",
    "parent_id": "str",
    "extra": "str",
}


def main() -> None:
    folder, out, arrow = Path(sys.argv[1]), Path(sys.argv[2]), "arrow" in sys.argv[3:]
    count = 0
    results: list[Any] = []
    predictions: list[Any] = []
    for path in sorted((folder / "export" / "aggregated-results").glob("aggregated-results-*.jsonl")):
        frame = read(path, arrow=arrow)
        frame.index = pd.RangeIndex(count, count + len(frame))
        count += len(frame)
        found = (flat_arrow if arrow else flat)(frame.pop("predictions"))
        results.append(pd.concat([frame, found[0]], axis=1))
        predictions.append(found[1])
    manifest = pd.read_parquet(folder / "manifest.parquet", columns=["key", "name", "width", "height", "state"])
    rows = joined(pd.concat(results), manifest[manifest["state"] == "staged"])
    write_results(rows, folder, out, arrow=arrow)
    all_predictions = pd.concat(predictions, ignore_index=True)
    predictions.clear()
    write_predictions(all_predictions, rows, count, out)


def read(path: Path, *, arrow: bool) -> Any:
    if arrow:
        return pd.read_json(path, lines=True, engine="pyarrow", dtype_backend="pyarrow")
    # Otherwise the last digits of its numbers are wrong.
    return pd.read_json(path, lines=True, precise_float=True)


def flat(values: Any) -> tuple[Any, Any]:
    """Columns a result, and rows a detection with the number of its result."""
    found = values.tolist()
    counts = [len(value["predictions"]) for value in found]
    sizes = {f"image_{name}": [value["image"][name] for value in found] for name in ("width", "height")}
    rows = pd.DataFrame([detection for value in found for detection in value["predictions"]])
    rows["result"] = np.repeat(values.index, counts)
    return pd.DataFrame({"predictions_count": counts, **sizes}, index=values.index), rows


def flat_arrow(values: Any) -> tuple[Any, Any]:
    """The same by what pandas has for Arrow's types."""
    lists, image = values.struct.field("predictions"), values.struct.field("image")
    counts = lists.list.len().fillna(0).astype("int64")
    sizes = {f"image_{name}": image.struct.field(name) for name in ("width", "height")}
    rows = lists.list.flatten().struct.explode().reset_index(drop=True)
    rows["result"] = np.repeat(values.index, counts)
    return pd.DataFrame({"predictions_count": counts, **sizes}, index=values.index), rows


def joined(results: Any, manifest: Any) -> Any:
    """One result for each known file, sorted, with its row of the manifest and its number of before."""
    first = results.drop_duplicates("image").rename_axis("result").reset_index()
    return first.merge(manifest, left_on="image", right_on="name").sort_values("image", ignore_index=True)


def write_results(rows: Any, folder: Path, out: Path, *, arrow: bool) -> None:
    names = rows["annotated"].struct.field("file") if arrow else rows["annotated"].str["file"]
    paths = [f"export/images-archives/{name}" for name in names]
    prefix = f"{folder}/"
    table = {
        "file": rows["image"],
        "source_key": rows["key"],
        "frame": pd.array([pd.NA] * len(rows), dtype="Int64"),
        "width": rows["image_width"].astype("Int64").fillna(rows["width"].astype("Int64")),
        "height": rows["image_height"].astype("Int64").fillna(rows["height"].astype("Int64")),
        **{name: rows[name] for name in ("count", "focus", "sharp", "label", "predictions_count")},
        "annotated": [path if os.path.isfile(prefix + path) else None for path in paths],  # noqa: PTH113
    }
    frame = pd.DataFrame(table)
    frame.to_parquet(out / "results.parquet", index=False, compression="zstd", row_group_size=10_000)


def write_predictions(rows: Any, results: Any, count: int, out: Path) -> None:
    rank = np.full(count, -1)
    rank[results["result"].to_numpy()] = np.arange(len(results))
    ranks = rank[rows.pop("result").to_numpy()]
    order = np.argsort(ranks, kind="stable")
    order = order[ranks[order] >= 0]
    rows, ranks = rows.take(order), ranks[order]
    rows.index = pd.RangeIndex(len(rows))
    about = {"file": "image", "source_key": "key", "image_width": "image_width", "image_height": "image_height"}
    for name, source in about.items():
        rows[name] = results[source].take(ranks).array
    rows["output"] = "predictions"
    for name, kind in PREDICTION_COLUMNS.items():
        if name not in rows.columns:
            rows[name] = pd.Series([None] * len(rows), dtype=kind)
    rows = rows[list(PREDICTION_COLUMNS)]
    rows.to_parquet(out / "predictions.parquet", index=False, compression="zstd", row_group_size=65_536)


if __name__ == "__main__":
    main()
