"""A million synthetic objects from listing to ``manifest.parquet`` and signed references in requests of 20,000.

The objects are made up while they are listed, and the requests are made to their last byte and thrown away, so that
nothing is measured but the pipeline's own work. A tenth of the objects is measured too: its memory tells the growth.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from tests.benchmarks.accounts import AMAZON, clean_environment
from tests.benchmarks.costs import Cost, note, print_table, run


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    few, many = options.listed // 10, options.listed
    (small, _), (cost, outcome) = _process(work, few), _process(work, many)
    megabytes = outcome["request_bytes"] / 1e6
    listing, manifest, references = outcome["steps"]
    rows = [
        ("listing, synthetic and selected by prefix, alone", *_columns(listing, many)),
        (f"listing into manifest.parquet ({outcome['manifest_bytes'] / 1e6:.0f} MB)", *_columns(manifest, many)),
        (f"reading it, signing and {outcome['requests']} requests ({megabytes:.0f} MB)", *_columns(references, many)),
        ("the whole process", *_columns(vars(cost), many)),
        (f"the whole process, {few:,} objects", *_columns(vars(small), few)),
    ]
    head = (f"{many:,} synthetic objects", "wall s", "CPU s", "objects/s", "peak memory up to then")
    print_table(head, *rows, ("growth", "", "", "", f"{cost.peak_mb - small.peak_mb:.0f} MB"))


def _process(work: Path, count: int) -> tuple[Cost, dict[str, Any]]:
    folder, outcome = work / str(count), work / f"{count}.json"
    folder.mkdir()
    command = (sys.executable, "-m", "tests.benchmarks.synthetic", str(count), folder, outcome)
    cost = run(command, clean_environment() | AMAZON)
    note(f"{count} objects: {cost.seconds:.1f} s, {cost.peak_mb:.0f} MB")
    return cost, json.loads(outcome.read_text(encoding="utf-8"))


def _columns(step: dict[str, Any], count: int) -> tuple[str, ...]:
    rate = f"{count / step['seconds']:,.0f}"
    return f"{step['seconds']:.1f}", f"{step['cpu_seconds']:.1f}", rate, f"{step['peak_mb']:.0f} MB"
