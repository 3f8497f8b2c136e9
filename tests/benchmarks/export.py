"""A finished job's output fetched: the step *export*, and the official client's ``export-batch``.

All are whole processes, started anew, their imports included, against our batch server, started afresh for each. The
output is many small files of results in one part and archives of images in another; all of them unpack the archives.
Ours checks, flushes to disk and journals what it fetches; it is measured with and without the parquet tables that the
step goes on to make of it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.core.services import free_port
from tests.benchmarks.accounts import clean_environment
from tests.benchmarks.collect import BATCH, KEY
from tests.benchmarks.costs import ROOT, Cost, cpu_seconds, note, print_table, run, spread
from tests.benchmarks.make_output import MEMBERS
from tests.benchmarks.references import CLIENT
from tests.benchmarks.references import KEY as API_KEY
from tests.emulators.process import running, speaks_http

OFFICIAL = "`inference rf-cloud data-staging export-batch`"
OURS = "`darkroom`'s export: listed, fetched, checked, unpacked, journaled"
TABLES = "the same, and `results.parquet` and `predictions.parquet`"


@dataclass(frozen=True)
class Export:
    """One process of a contender, and the CPU time that the batch server spent meanwhile."""

    cost: Cost
    server_seconds: float


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    if not CLIENT.exists():
        raise SystemExit("the official client is not installed: make .venv-contract/ready")
    made = work / "made"
    run([sys.executable, "-m", "tests.benchmarks.make_output", made, str(options.files), str(options.archives)])
    taken: dict[str, list[Export]] = {name: [] for name in (OFFICIAL, OURS, TABLES)}
    for number in range(options.rounds):
        for name, exports in taken.items():
            exports.append(_turn(name, work / f"{number}-{len(name)}", made, options))
        walls = ", ".join(f"{exports[-1].cost.seconds:.1f} s" for exports in taken.values())
        note(f"export, round {number + 1}: {walls}")
    what = f"{options.files:,} result files and {options.archives} archives, {os.cpu_count()} cores"
    median = f"(median of {options.rounds})"
    cost = (f"wall s {median}", "of the client's", f"CPU s {median}", "of the client's CPU", "peak memory")
    rows = [_row(name, exports, taken[OFFICIAL]) for name, exports in taken.items()]
    print_table((what, *cost, "meanwhile: CPU s of the batch server"), *rows)


def _row(name: str, ours: list[Export], peer: list[Export]) -> tuple[str, ...]:
    def middle(look: Callable[[Export], float]) -> str:
        return f"{statistics.median(map(look, ours)):.2f}"

    def share(look: Callable[[Cost], float]) -> str:
        return spread([look(mine.cost) / look(theirs.cost) for mine, theirs in zip(ours, peer, strict=True)])

    return (
        name,
        middle(lambda export: export.cost.seconds),
        share(lambda cost: cost.seconds),
        middle(lambda export: export.cost.cpu_seconds),
        share(lambda cost: cost.cpu_seconds),
        f"{max(export.cost.peak_mb for export in ours):.0f} MB",
        middle(lambda export: export.server_seconds),
    )


def _turn(name: str, folder: Path, made: Path, options: Namespace) -> Export:
    """A contender's process.

    Raises:
        SystemExit: it failed, or has not brought everything.
    """
    folder.mkdir()
    shutil.copytree(made / "runs", folder / "runs")
    with _batch_server(folder, made / "server") as (pid, url):
        own = {"API_BASE_URL": url, "ROBOFLOW_API_KEY": API_KEY, "TELEMETRY_OPT_OUT": "True"}
        before = cpu_seconds(pid)
        cost = run(_command(name, folder), clean_environment() | own)
        spent = cpu_seconds(pid) - before
    target = folder / "out" if name == OFFICIAL else folder / "runs" / KEY / "export"
    found = [sum(path.is_file() for path in target.rglob(kind)) for kind in ("results-*.jsonl", "annotated.jpg")]
    if found != [options.files, options.archives * MEMBERS]:
        raise SystemExit(f"{name} has brought {found[0]} files and {found[1]} members of archives")
    return Export(cost, spent)


def _command(name: str, folder: Path) -> list[str | Path]:
    if name == OFFICIAL:
        asked = ["--batch-id", BATCH, "--target-dir"]
        return [CLIENT, "rf-cloud", "data-staging", "export-batch", *asked, folder / "out"]
    what = "tables" if name == TABLES else ""
    return [sys.executable, "-m", "tests.benchmarks.collect", folder / "runs", what]


@contextmanager
def _batch_server(folder: Path, data: Path) -> Iterator[tuple[int, str]]:
    """Its process id and URL."""
    port = free_port()
    command = (sys.executable, "-m", "deployments.batch_server", "--port", str(port), "--data", data)
    variables = {"ROBOFLOW_API_KEY": API_KEY, "PYTHONPATH": str(ROOT)}
    with running(command, lambda: speaks_http(port), folder / "server.log", variables) as pid:
        yield pid, f"http://127.0.0.1:{port}"
