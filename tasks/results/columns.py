"""From the kinds of a workflow's outputs to the columns of ``results.parquet``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.results.kinds import (
    EMPTY,
    IMAGE,
    JSON,
    NULL,
    PREDICTIONS,
    ImagePath,
    Kind,
    arrow_type,
    convert,
    infer,
    join,
)
from tasks.results.schemas import KIND_KEY, OUTPUT_KEY, RESULT_FIELDS


@dataclass(frozen=True)
class OutputColumn:
    """A column that holds one output of the workflow, or one field of it."""

    name: str
    """The column's name in ``results.parquet``."""
    output: str
    """The workflow's output."""
    field: str | None
    """The field of the output, where an output made of several was taken apart."""
    kind: Kind

    @property
    def role(self) -> str:
        """``value``, ``count`` (of predictions), ``image`` (a path) or ``json``."""
        if self.kind == PREDICTIONS:
            return "count"
        if self.kind in (JSON, EMPTY):
            return "json"
        return "image" if IMAGE in (self.kind, self.kind.item) else "value"

    @property
    def source(self) -> str:
        """Where the values stand: ``output`` or ``output/field``."""
        return self.output if self.field is None else f"{self.output}/{self.field}"

    def pick(self, outputs: dict[str, Any]) -> Any:
        """The column's JSON value in one result."""
        value = outputs.get(self.output)
        if self.field is None:
            return value
        return value.get(self.field) if isinstance(value, dict) else None

    def value(self, outputs: dict[str, Any], image_path: ImagePath) -> Any:
        """What the column holds for one result."""
        return convert(self.kind, self.pick(outputs), image_path, self.source)

    def arrow_field(self) -> pa.Field:
        """The column in the schema, with its origin in the metadata."""
        origin = {OUTPUT_KEY: self.source.encode(), KIND_KEY: self.role.encode()}
        return pa.field(self.name, arrow_type(self.kind), metadata=origin)


class OutputKinds:
    """What is known of a workflow's outputs after looking at some results, whatever their order."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._places: dict[str, tuple[str, int]] = {}

    def look(self, file: str, outputs: dict[str, Any]) -> None:
        """Takes one result into account."""
        for position, (name, value) in enumerate(outputs.items()):
            self._kinds[name] = join(self._kinds.get(name, NULL), infer(value))
            place = (file, position)
            self._places[name] = min(self._places.get(name, place), place)

    def columns(self) -> tuple[OutputColumn, ...]:
        """The columns, in the order of the workflow's outputs in the first file that has them."""
        parts = []
        for output in sorted(self._kinds, key=lambda name: (self._places[name], name)):
            parts.extend(_parts(output, self._kinds[output]))
        names = _unique_names(_wanted_name(output, field, kind) for output, field, kind in parts)
        return tuple(
            OutputColumn(name, output, field, kind) for name, (output, field, kind) in zip(names, parts, strict=True)
        )


def _parts(output: str, kind: Kind) -> list[tuple[str, str | None, Kind]]:
    """A struct that holds predictions is taken apart, so that they get their count and their rows."""
    if any(field == PREDICTIONS for _, field in kind.fields):
        return [(output, name, field) for name, field in kind.fields]
    return [(output, None, kind)]


def _wanted_name(output: str, field: str | None, kind: Kind) -> str:
    name = output if field is None else f"{output}_{field}"
    return f"{name}_count" if kind == PREDICTIONS else name or "output"


def _unique_names(wanted: Iterable[str]) -> list[str]:
    """Names that differ from each other and from the fixed columns, also without regard to case."""
    taken = {field.name for field in RESULT_FIELDS}
    names = []
    for name in wanted:
        chosen, number = name, 1
        while chosen.casefold() in taken:
            chosen = f"output_{name}" if number == 1 else f"output_{name}_{number}"
            number += 1
        taken.add(chosen.casefold())
        names.append(chosen)
    return names
