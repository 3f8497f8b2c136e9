"""Classifications as Roboflow's engine writes them, and the rows they become: one for each class that was predicted.

With one label: ``{"image": {"width", "height"}, "top", "confidence", "predictions": [{"class", "class_id",
"confidence"}, …], …}``; ``predictions`` holds every class, ``top`` is empty where none was confident enough. With many:
``{"image", "predicted_classes": […], "predictions": {"<class>": {"confidence", "class_id"}, …}, …}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.results.kinds import Kind
from tasks.results.predictions import integer, number

FIELDS = ("image", "top", "confidence", "predictions", "predicted_classes", "parent_id")
"""The fields that rows are made of."""


def may_classify(kind: Kind) -> bool:
    """Whether objects of a kind can be classifications."""
    names = {name for name, _ in kind.fields}
    return "predictions" in names and not names.isdisjoint(("top", "predicted_classes"))


def classification_rows(value: Any) -> list[dict[str, Any]] | None:
    """The columns of ``predictions.parquet`` for a classification; ``None`` where the value is none.

    A field that is null counts as one that is not there.
    """
    if not isinstance(value, dict):
        return None
    found = value.get("predictions")
    if isinstance(value.get("top"), str) and isinstance(found, list):
        rows = _one_label(value, found)
    elif isinstance(value.get("predicted_classes"), list) and isinstance(found, dict):
        rows = _many_labels(value["predicted_classes"], found)
    else:
        return None
    parent = value.get("parent_id")
    about = {"parent_id": parent if isinstance(parent, str) else None}
    return [row | about for row in rows]


def _one_label(value: dict[str, Any], found: list[Any]) -> Iterator[dict[str, Any]]:
    top = value["top"]
    if top:
        same = (item for item in found if isinstance(item, dict) and item.get("class") == top)
        entry = next(same, {})
        yield _row(top, entry | {"confidence": value.get("confidence")})


def _many_labels(predicted: list[Any], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in predicted:
        if isinstance(name, str):
            entry = found.get(name)
            yield _row(name, entry if isinstance(entry, dict) else {})


def _row(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"class": name, "class_id": integer(entry.get("class_id")), "confidence": number(entry.get("confidence"))}
