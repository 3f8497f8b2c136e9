"""The export step's tables, alone: ``python -m tests.benchmarks.our_tables FOLDER OUT``."""

import sys
from pathlib import Path

from tasks.media.manifest import read_manifest
from tasks.results.tables import build_tables


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    build_tables(folder / "export", read_manifest(folder / "manifest.parquet", "staged"), out)


if __name__ == "__main__":
    main()
