"""``make bench``: what the pipeline costs, measured side by side with what it stands beside.

Eight questions, a module each:

- *throughput*: images a second of whole runs, against the engine's own directory command.
- *memory*: peak resident memory of the flow's process at few and at many small images.
- *references*: objects in a bucket listed, signed and submitted, against the official client's cloud-storage source.
- *export*: result files and archives fetched, against the official client's export.
- *tables*: result lines to parquet, against pandas; seconds and peak memory.
- *presign*: signed URLs a second on one core, against the cloud vendors' own libraries.
- *waiting*: requests while a job runs, and the delay until its end is known, polling and suspended.
- *million*: a million objects from listing to manifest and signed references; seconds and peak memory.

Whole commands are measured in processes of their own. Contenders take turns, so that a noisy machine disturbs all of
them. Nothing here asserts: the tables are to be read, and go into the README as they were measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

QUESTIONS = ("throughput", "memory", "references", "export", "tables", "presign", "waiting", "million")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the asked-for measurements and prints them as markdown."""
    options = _options(arguments)
    for question in QUESTIONS:
        if question in options.what:
            # Imported only now, so that the memory of this process stays below that of what it starts.
            module = import_module(f"tests.benchmarks.{question}")
            with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
                module.measure(Path(name), options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench BENCH=...", description=__doc__)
    parser.add_argument("what", nargs="*", default=QUESTIONS, help=f"{', '.join(QUESTIONS)} (default: all)")
    parser.add_argument("--images", type=int, default=500, help="photographs of 40 kB for throughput")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--few", type=int, default=500, help="small images, the lower number")
    parser.add_argument("--many", type=int, default=10_000, help="small images, the higher number")
    parser.add_argument("--objects", type=int, default=20_000, help="objects in the bucket for references")
    parser.add_argument("--files", type=int, default=2_000, help="small result files for export")
    parser.add_argument("--archives", type=int, default=10, help="archives of images for export")
    parser.add_argument("--predictions", type=int, default=1_000_000, help="predictions in the result lines for tables")
    parser.add_argument("--urls", type=int, default=20_000, help="URLs that presign has signed in a round")
    parser.add_argument("--listed", type=int, default=1_000_000, help="synthetic objects for million")
    options = parser.parse_args(arguments)
    if unknown := set(options.what) - set(QUESTIONS):
        parser.error(f"there is no {' or '.join(sorted(unknown))}: choose from {', '.join(QUESTIONS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
