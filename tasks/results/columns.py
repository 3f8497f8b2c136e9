"""From the kinds of a workflow's outputs to the columns of ``results.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
from tasks.results.parse import MAX_OUTPUTS, Result
from tasks.results.schemas import KIND_KEY, OUTPUT_KEY, RESULT_FIELDS

OTHER_OUTPUTS = "other_outputs"
"""The column that holds, as one object, what results of very many different outputs have beyond the first ones."""

OutputNames = Callable[[str], Sequence[str]]
"""Names of the outputs in a file's result, in the order of the workflow."""


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
    others: frozenset[str] = frozenset()
    """The outputs that stand together in this column, as an object; empty for all columns but one."""

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
        if self.others:
            return {name: value for name, value in outputs.items() if name in self.others} or None
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
        self.by_output: dict[str, Kind] = {}
        self._first_with: dict[str, str] = {}
        self._first: str | None = None

    def look(self, result: Result) -> None:
        """Takes one result into account."""
        self._first = min(self._first or result.file, result.file)
        for name, value in result.outputs.items():
            self.by_output[name] = join(self.by_output.get(name, NULL), infer(value))
            if value is not None:
                self._see(name, result.file)

    def look_at(self, files: pa.Array, outputs: pa.RecordBatch) -> None:
        """Takes many results into account, of which every value is of the kind that is known.

        Args:
            files: their names.
            outputs: their outputs, as Arrow's reader made them; may hold other columns.
        """
        least = pc.min(files).as_py()
        self._first = min(self._first or least, least)
        for name in self.by_output.keys() & set(outputs.schema.names):
            values = outputs.column(name)
            if values.null_count == 0:
                self._see(name, least)
            elif values.null_count < len(values):
                self._see(name, pc.min(files.filter(values.is_valid())).as_py())

    def columns(self, names_in: OutputNames) -> tuple[OutputColumn, ...]:
        """The columns, in the order of the workflow's outputs.

        That is their order in the first of all files, then, for outputs that it lacks, in the first file that has a
        value for them.

        Args:
            names_in: called for few files.
        """
        ordered = self._in_order(names_in)
        parts = [part for output in ordered[:MAX_OUTPUTS] for part in _parts(output, self.by_output[output])]
        others = frozenset(ordered[MAX_OUTPUTS:])
        if others:
            parts.append((OTHER_OUTPUTS, None, JSON))
        names = _unique_names(_wanted_name(*part) for part in parts)
        columns = [OutputColumn(name, *part) for name, part in zip(names, parts, strict=True)]
        if others:
            columns[-1] = OutputColumn(names[-1], *parts[-1], others)
        return tuple(columns)

    def _see(self, name: str, file: str) -> None:
        self._first_with[name] = min(self._first_with.get(name, file), file)

    def _in_order(self, names_in: OutputNames) -> list[str]:
        lead = names_in(self._first) if self._first is not None else ()
        wanted: dict[str, set[str]] = {}
        for name in self.by_output.keys() - set(lead):
            wanted.setdefault(self._first_with.get(name, ""), set()).add(name)
        valueless = sorted(wanted.pop("", ()))
        return [
            *lead,
            *(name for file in sorted(wanted) for name in names_in(file) if name in wanted[file]),
            *valueless,
        ]


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
