"""The first pass: every result is read once, its place noted, and the kinds of the outputs learned.

Blocks that Arrow's reader can be trusted with are kept in sorted runs; of the others only the places of the lines,
which the second pass reads again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from tasks.results.ahead import map_ahead
from tasks.results.blocks import Block, Line, LineFiles
from tasks.results.columns import OutputKinds
from tasks.results.exported import OnUnreadable
from tasks.results.fast import is_sure, read_block
from tasks.results.parse import IMAGE_KEY, Result, Unreadable, parse_result
from tasks.results.runs import SortedRuns
from tasks.results.shapes import Shape
from tasks.results.store import Claim, ResultStore

LINES_TO_LEARN = 64
"""Lines of a refused block that are read the exact way before the rest is tried again; then four times as many."""
EXAMPLES = 20


@dataclass
class Problems:
    """Results that were left out: how many, and the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


class Gathering:
    """Takes in lines, block by block.

    Args:
        store: knows the files; learns where their results stand.
        runs: takes the results that were read in full.
        on_unreadable: told where and why, for each result that cannot be read.
    """

    def __init__(self, store: ResultStore, runs: SortedRuns, on_unreadable: OnUnreadable) -> None:
        self._store = store
        self._runs = runs
        self._on_unreadable = on_unreadable
        self._shape = Shape()
        self._schema: pa.Schema | None = None
        self.kinds = OutputKinds()
        self.duplicates = Problems()
        """Names of files with a second result; the first is kept."""
        self.unknown = Problems()
        """Names of files that the manifest does not have."""

    def take_all(self, files: LineFiles) -> None:
        """Takes in every line."""
        number = 1
        for block, ends, batch in map_ahead(self._try, files.blocks()):
            if block.offset == 0:
                number = 1
            self._take(block, ends, batch, number)
            number += len(ends)
        self._runs.seal()

    def _try(self, block: Block) -> tuple[Block, list[int], pa.RecordBatch | None]:
        ends = block.line_ends()
        return block, ends, read_block(block, ends, self._schema)

    def _take(self, block: Block, ends: list[int], batch: pa.RecordBatch | None, number: int) -> None:
        """Takes in a block: in bulk if that can be, else some lines the exact way, and the rest in bulk, and so on.

        Args:
            block: the block.
            ends: where its lines end.
            batch: what was read in bulk.
            number: of its first line.
        """
        lines = LINES_TO_LEARN
        while batch is None or not is_sure(batch, self.kinds):
            first, block = block.split(ends, lines)
            self._take_lines(first, ends[:lines], number)
            number += lines
            ends = [end - len(first.data) for end in ends[lines:]]
            if not ends:
                return
            lines *= 4
            batch = read_block(block, ends, self._schema)
        self._take_batch(block, ends, batch)

    def _take_batch(self, block: Block, ends: list[int], batch: pa.RecordBatch) -> None:
        run = self._runs.number_for(batch.schema)
        names = batch.column(IMAGE_KEY).to_pylist()
        kept = self._claim(list(zip(names, _lines(block, ends), strict=True)), run)
        if not all(kept):
            batch = batch.filter(pa.array(kept))
        if batch.num_rows:
            self.kinds.look_at(batch.column(IMAGE_KEY), batch)
            self._runs.add(batch)

    def _take_lines(self, block: Block, ends: list[int], first: int) -> None:
        found: list[tuple[str, Line]] = []
        results: list[Result] = []
        for number, line in enumerate(_lines(block, ends), start=first):
            start = line.offset - block.offset
            data = block.data[start : start + line.length]
            if not data.strip():
                continue
            try:
                result = parse_result(data)
            except Unreadable as error:
                self._on_unreadable(f"{block.shown} line {number}: {error}")
                continue
            found.append((result.file, line))
            results.append(result)
        for result, kept in zip(results, self._claim(found), strict=True):
            if kept:
                self.kinds.look(result)
                self._shape.look(result)
        # Replaced as a whole, as other threads read it.
        self._schema = self._shape.schema

    def _claim(self, found: list[tuple[str, Line]], run: int | None = None) -> list[bool]:
        """Which results are kept; the others are told."""
        claims = self._store.claim(found, run)
        for (name, _), claim in zip(found, claims, strict=True):
            if claim is Claim.DUPLICATE:
                self.duplicates.add(name)
            elif claim is Claim.UNKNOWN:
                self.unknown.add(name)
        return [claim is Claim.KEPT for claim in claims]


def _lines(block: Block, ends: list[int]) -> Iterator[Line]:
    start = 0
    for end in ends:
        yield Line(block.part, block.offset + start, end - start)
        start = end
