"""Reading blocks of lines with Arrow's JSON reader.

It reads far more quickly than a JSON value at a time, and leniently: it accepts what is no JSON (NaN), several
objects in a line, one object in several. A block is taken only where it gives just what reading the exact way gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from tasks.results import parse
from tasks.results.blocks import Block
from tasks.results.columns import OutputKinds
from tasks.results.conform import holds
from tasks.results.parse import IMAGE_KEY, MAX_OUTPUTS

_OPEN, _CLOSE = b"{}"


def read_block(block: Block, ends: Sequence[int], schema: pa.Schema | None) -> pa.RecordBatch | None:
    """The block's results, a row a line; ``None`` where it has to be read the exact way.

    Args:
        block: not empty.
        ends: where its lines end.
        schema: of the results so far; whatever it does not foresee is for the exact way.
    """
    if schema is None or len(schema) > MAX_OUTPUTS or not _is_plain(block.data, ends):
        return None
    try:
        table = pa_json.read_json(
            pa.BufferReader(block.data),
            # One chunk: how lines fall into chunks must not matter.
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block.data)),
            parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    batch = table.combine_chunks().to_batches()[0]
    return batch if batch.num_rows == len(ends) and _are_named(batch.column(IMAGE_KEY)) else None


def is_sure(batch: pa.RecordBatch, kinds: OutputKinds) -> bool:
    """Whether every output of a block is of the kind that is known."""
    known = kinds.by_output
    names = [name for name in batch.schema.names if name != IMAGE_KEY]
    return all(name in known and holds(known[name], batch.column(name)) for name in names)


def _is_plain(data: bytes, ends: Sequence[int]) -> bool:
    """Whether each line can hold one object only, and that one whole.

    No object goes on after a line that ends in a brace with a line that begins with one.
    """
    if len(data) > parse.MAX_RESULT_BYTES or not data.endswith(b"\n"):
        return False
    opened = data[0] == _OPEN and all(data[end] == _OPEN for end in ends[:-1])
    return opened and all(data[end - 2] == _CLOSE for end in ends) and _is_utf8(data)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _are_named(files: pa.Array) -> bool:
    return files.null_count == 0 and bool(pc.min(pc.binary_length(files)).as_py() > 0)
