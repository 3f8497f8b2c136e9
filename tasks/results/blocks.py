"""Files of one result a line, read as blocks of whole lines, and again line by line from where they stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from tasks.results import parse
from tasks.results.parse import IMAGE_KEY, Result

BLOCK_BYTES = 2 * 1024**2
"""About the size of a block; one line may be longer."""


class Line(NamedTuple):
    """Where a line stands."""

    part: int
    """Number of the file."""
    offset: int
    """Bytes before it."""
    length: int
    """Its bytes, with what ends it."""


@dataclass(frozen=True)
class Block:
    """Whole lines of one file, one after the other.

    Attributes:
        part: number of the file.
        shown: the file's name for people.
        offset: bytes before the first line.
        data: the lines; of a last one that is too long, only a piece that is too long as well.
    """

    part: int
    shown: str
    offset: int
    data: bytes

    def line_ends(self) -> list[int]:
        """Where each line ends, in bytes from the block's begin."""
        ends, data, end = [], self.data, 0
        while (end := data.find(b"\n", end) + 1) > 0:
            ends.append(end)
        if not data.endswith(b"\n"):
            ends.append(len(data))
        return ends

    def split(self, ends: list[int], lines: int) -> tuple[Block, Block]:
        """The first ``lines`` lines and the rest, which may be empty."""
        cut = ends[min(lines, len(ends)) - 1]
        first = Block(self.part, self.shown, self.offset, self.data[:cut])
        return first, Block(self.part, self.shown, self.offset + cut, self.data[cut:])


class LineFiles:
    """The files of one result a line, numbered in their order.

    Args:
        folder: that the names are relative to.
        names: the files, in the order in which the first of two results counts.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._names = names

    def blocks(self) -> Iterator[Block]:
        """All lines in their order."""
        for part, name in enumerate(self._names):
            with (self._folder / name).open("rb") as file:
                while data := file.read(BLOCK_BYTES):
                    offset = file.tell() - len(data)
                    if not data.endswith(b"\n"):
                        data += _to_end_of_line(file)
                    yield Block(part, name, offset, data)

    @contextmanager
    def reader(self) -> Iterator[Callable[[Line], bytes]]:
        """Gives a function that reads one line; it is quickest when lines of one file come one after the other."""
        opened: dict[int, IO[bytes]] = {}

        def read(line: Line) -> bytes:
            if line.part not in opened:
                while opened:
                    opened.popitem()[1].close()
                opened[line.part] = (self._folder / self._names[line.part]).open("rb")
            opened[line.part].seek(line.offset)
            return opened[line.part].read(line.length)

        try:
            yield read
        finally:
            for file in opened.values():
                file.close()


def spool(results: Iterable[Result], path: Path) -> None:
    """Writes results as lines."""
    with path.open("w", encoding="utf-8") as file:
        for result in results:
            line = {IMAGE_KEY: result.file} | result.outputs
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def _to_end_of_line(file: IO[bytes]) -> bytes:
    """The rest of a line; of one that is too long, a piece that is too long as well, the file being at its end."""
    rest = piece = file.readline(parse.MAX_RESULT_BYTES + 1)
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(parse.MAX_RESULT_BYTES)
    return rest
