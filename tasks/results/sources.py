"""Where in the outputs predictions stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tasks.results.classifications import classification_rows, may_classify
from tasks.results.columns import OutputColumn
from tasks.results.kinds import JSON, PREDICTIONS
from tasks.results.predictions import detection_row


@dataclass(frozen=True)
class PredictionSource:
    """An output, or a field of one, whose values become rows of ``predictions.parquet``."""

    column: OutputColumn
    """The column of ``results.parquet`` that the values are in."""
    field: str | None = None
    """The field of the column's values."""

    @property
    def detects(self) -> bool:
        """Whether all values are sets of detections; otherwise each may be a classification."""
        return self.column.kind == PREDICTIONS

    @property
    def name(self) -> str:
        """What ``predictions.parquet`` calls the output: ``output`` or ``output/field``."""
        return self.column.source if self.field is None else f"{self.column.source}/{self.field}"

    def pick(self, outputs: dict[str, Any]) -> Any:
        """The JSON value in one result."""
        value = self.column.pick(outputs)
        if self.field is None:
            return value
        return value.get(self.field) if isinstance(value, dict) else None

    def rows(self, value: Any) -> list[dict[str, Any]] | None:
        """A row for each prediction; ``None`` where there is no set of predictions."""
        if not self.detects:
            return classification_rows(value)
        return None if value is None else [detection_row(detection) for detection in value["predictions"]]


def sources_of(columns: Iterable[OutputColumn]) -> tuple[PredictionSource, ...]:
    """Where predictions stand or may stand, in the order of the columns."""
    return tuple(source for column in columns for source in _sources(column))


def _sources(column: OutputColumn) -> Iterator[PredictionSource]:
    kind = column.kind
    if kind == PREDICTIONS or may_classify(kind):
        yield PredictionSource(column)
    elif kind == JSON and not column.others:
        # The engine's models give theirs in a field of this name, beside the model's id.
        yield PredictionSource(column)
        yield PredictionSource(column, "predictions")
    else:
        yield from (PredictionSource(column, name) for name, field in kind.fields if may_classify(field))
