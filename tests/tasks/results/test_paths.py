"""Reading in bulk gives just what reading line by line gives, however nasty the lines are."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.results import blocks, gather
from tasks.results.runs import SortedRuns
from tasks.results.tables import build_tables
from tests.tasks.results.nasty import BROKEN, broken_lines, lines
from tests.tasks.results.run_on_disk import Entry, Run

LINES = 90
SEEDS_PER_TEST = 25


class Bulk:
    """Counts the rows that were read in bulk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        add = SortedRuns.add

        def counting(runs: SortedRuns, batch: pa.RecordBatch) -> None:
            self.rows += batch.num_rows
            add(runs, batch)

        monkeypatch.setattr(SortedRuns, "add", counting)


def tables_of(root: Path, content: list[bytes]) -> tuple[pa.Table, pa.Table, Any]:
    root.mkdir()
    run = Run(root)
    half = len(content) // 2
    run.write("aggregated-results/aggregated-results-00000.jsonl", b"".join(line + b"\n" for line in content[:half]))
    run.write("aggregated-results/aggregated-results-00001.jsonl", b"\n".join(content[half:]))
    run.write("images-archives/0.jpg/out.jpg", b"")
    entries = [Entry(f"{n}.jpg", f"key {n}") for n in range(LINES)]
    tables = build_tables(run.export, entries, root)
    told = (tables.duplicates, tables.unknown, tables.unreadable, tables.outputs)
    return pq.read_table(tables.results), pq.read_table(tables.predictions_file), told


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(gather, "LINES_TO_LEARN", 2)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 3_000)


def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: list[bytes]) -> Any:
    """Reads lines both ways, and gives what is told of them."""
    results, predictions, told = tables_of(tmp_path / f"bulk {name}", content)
    with monkeypatch.context() as patch:
        patch.setattr(gather, "read_block", lambda *_: None)
        expected, expected_predictions, expected_told = tables_of(tmp_path / f"exact {name}", content)
    assert told == expected_told, name
    assert results.equals(expected, check_metadata=True), name
    assert predictions.equals(expected_predictions, check_metadata=True), name
    return told


@pytest.mark.parametrize("first", range(0, 250, SEEDS_PER_TEST))
def test_bulk_and_exact_reading_give_the_same(tmp_path, monkeypatch, first):
    bulk = Bulk(monkeypatch)
    for seed in range(first, first + SEEDS_PER_TEST):
        compare(tmp_path, monkeypatch, str(seed), lines(seed, LINES))
    assert bulk.rows > LINES * SEEDS_PER_TEST // 8


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_one_broken_line_among_good_ones(tmp_path, monkeypatch, number):
    bulk, line = Bulk(monkeypatch), broken_lines()[number]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 300)
    good = [json.dumps({"image": f"{n}.jpg", "a": "é", "z": n}, ensure_ascii=False).encode() for n in range(20, 60)]
    compare(tmp_path, monkeypatch, "lines", [*good[:20], line, *good[20:]])
    assert bulk.rows > 10
