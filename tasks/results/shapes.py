"""What JSON lines look like to Arrow's reader: the schema that it is given.

Without a schema the reader takes text for timestamps, and a line of deep nesting ends the process. With one it refuses
whatever the schema does not foresee: other types, unknown fields, fields that come twice. So a schema is learned from
results that were read the exact way, and what is refused is read the exact way and learned from in turn.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import pyarrow as pa

from tasks.results.parse import IMAGE_KEY, Result

MAX_DEPTH = 16
MAX_NODES = 2_000
_INT64 = 1 << 63

Node: TypeAlias = Any
"""A type, the fields of an object, or a list's one item."""


class Unfit(ValueError):
    """Values of several types stand in one place, or they are nested too deeply."""


class Shape:
    """The schema of the results that were looked at."""

    def __init__(self) -> None:
        self._root: dict[str, Node] = {IMAGE_KEY: pa.string()}
        self._nodes = 0
        self._schema: pa.Schema | None = None
        self._fit = True

    def look(self, result: Result) -> None:
        """Takes a result into account."""
        if not self._fit:
            return
        try:
            self._widen(self._root, result.outputs, 0)
        except Unfit:
            self._fit = False
            self._schema = None

    @property
    def schema(self) -> pa.Schema | None:
        """What holds all results so far, fields being in the order in which they came; ``None`` if no schema does."""
        if self._schema is None and self._fit and self._nodes:
            self._schema = pa.schema([(name, _arrow_type(node)) for name, node in self._root.items()])
        return self._schema

    def _widen(self, node: Node, value: Any, depth: int) -> Node:
        """What holds the value and all that ``node`` holds; objects and lists are changed in place."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return node
        if isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise Unfit
            return (
                self._widen_object(node, value, depth)
                if isinstance(value, dict)
                else self._widen_list(node, value, depth)
            )
        scalar = _scalar(value)
        if node == scalar:
            return node
        if isinstance(node, pa.DataType) and (node == pa.null() or _are_numbers(node, scalar)):
            return self._changed(scalar if node == pa.null() else pa.float64())
        raise Unfit

    def _widen_object(self, node: Node, value: dict[str, Any], depth: int) -> Node:
        if node == pa.null():
            node = self._changed({})
        if not isinstance(node, dict):
            raise Unfit
        for name, item in value.items():
            known = node.get(name)
            if known is None:
                node[name] = known = self._changed(pa.null())
            widened = self._widen(known, item, depth + 1)
            if widened is not known:
                node[name] = widened
        return node

    def _widen_list(self, node: Node, value: list[Any], depth: int) -> Node:
        if node == pa.null():
            node = self._changed([pa.null()])
        if not isinstance(node, list):
            raise Unfit
        for item in value:
            node[0] = self._widen(node[0], item, depth + 1)
        return node

    def _changed(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unfit
        self._schema = None
        return node


def _scalar(value: Any) -> pa.DataType:
    match value:
        case bool():
            return pa.bool_()
        case int():
            if not -_INT64 <= value < _INT64:
                raise Unfit
            return pa.int64()
        case float():
            return pa.float64()
    return pa.string()


def _are_numbers(*types: pa.DataType) -> bool:
    return all(found in (pa.int64(), pa.float64()) for found in types)


def _arrow_type(node: Node) -> pa.DataType:
    if isinstance(node, dict):
        return pa.struct([(name, _arrow_type(item)) for name, item in node.items()])
    return pa.list_(_arrow_type(node[0])) if isinstance(node, list) else node
