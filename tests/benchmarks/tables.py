"""Result lines to ``results.parquet`` and ``predictions.parquet``, against pandas doing the same.

Whole processes, on the same lines and the same manifest. Both pandas contenders read file by file; the plain one is
what ``read_json`` gives, the other is pandas on Arrow's JSON reader and types, as an expert may use it.
"""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tests.benchmarks.costs import ROOT, Cost, note, print_table, run, spread

READERS = ROOT / ".venv-readers" / "bin" / "python"
PANDAS = Path(__file__).with_name("pandas_tables.py")
DETECTIONS = 10
"""An image."""


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    images = options.predictions // DETECTIONS
    run((sys.executable, "-m", "tests.benchmarks.made_results", work, str(images)))
    contenders: dict[str, Sequence[str | Path]] = {
        "pandas, `read_json`": (READERS, PANDAS, work),
        "pandas on Arrow's reader and types": (READERS, PANDAS, work),
        "Darkroom": (sys.executable, "-m", "tests.benchmarks.our_tables", work),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for turn in range(options.rounds):
        for number, (name, command) in enumerate(contenders.items()):
            out = work / f"out-{number}"
            out.mkdir(exist_ok=True)
            extra = ("arrow",) if number == 1 else ()
            costs[name].append(run((*command, out, *extra)))
            _check(out, images)
        note(f"tables, round {turn + 1}: " + ", ".join(f"{taken[-1].seconds:.1f} s" for taken in costs.values()))
    _print(images, costs)


def _check(out: Path, images: int) -> None:
    """Every contender has to give the same rows."""
    wanted = {"results.parquet": images, "predictions.parquet": images * DETECTIONS}
    found = {name: pq.read_metadata(out / name).num_rows for name in wanted}
    if found != wanted:
        raise SystemExit(f"{out} holds {found} rows instead of {wanted}")


def _print(images: int, costs: dict[str, list[Cost]]) -> None:
    *_, ours = costs.values()
    head = f"{images:,} images, {images * DETECTIONS:,} predictions"
    names = ("seconds", "CPU s", "peak MB", "times our seconds", "times our CPU s", "times our memory")
    print_table((head, *names), *((name, *_columns(taken, ours)) for name, taken in costs.items()))


def _columns(taken: list[Cost], ours: list[Cost]) -> Iterator[str]:
    """Medians, then how many times as much as ours it is, turn by turn."""
    for what in ("seconds", "cpu_seconds", "peak_mb"):
        yield f"{statistics.median(getattr(cost, what) for cost in taken):.1f}"
    for what in ("seconds", "cpu_seconds", "peak_mb"):
        yield spread([getattr(one, what) / getattr(other, what) for one, other in zip(taken, ours, strict=True)])
