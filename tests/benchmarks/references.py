"""Objects in a bucket listed, signed and submitted by reference: a run up to its submission, and the official client.

Both are whole processes, started anew, their imports included, that talk to the same servers: moto's S3 and our batch
server, both started afresh and warm for each turn. No host is allowed to that batch server, so it refuses to fetch
anything, and what it does after its answer is not left to disturb the next turn.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tasks.core.services import free_port
from tests.benchmarks.accounts import AMAZON, clean_environment
from tests.benchmarks.costs import ROOT, Cost, cpu_seconds, note, print_table, run, spread
from tests.emulators.process import PYTHON, running, speaks_http
from tests.waiting import wait_for

CLIENT = Path(os.environ.get("DARKROOM_OFFICIAL_CLIENT") or ROOT / ".venv-contract" / "bin" / "inference")
KEY = "bench-key"
BUCKET = "photos"
SOURCE = f"s3://{BUCKET}/2026-09"
OFFICIAL = "`inference rf-cloud data-staging create-batch-of-images --data-source cloud-storage`"
OURS = "`darkroom`'s steps stage and ingest up to there, with manifest, run folder and journal"
SETTLED_SECONDS = 120.0


@dataclass(frozen=True)
class Turn:
    """One contender's turn.

    Attributes:
        cost: of its process.
        store_seconds: CPU time that the S3 emulator spent meanwhile.
        server_seconds: CPU time that the batch server spent until the contender had ended.
    """

    cost: Cost
    store_seconds: float
    server_seconds: float


@dataclass(frozen=True)
class Servers:
    """The two servers of one turn."""

    store: int
    server: int
    store_url: str
    server_url: str

    def environment(self) -> dict[str, str]:
        """The variables that lead both contenders here."""
        own = {"AWS_ENDPOINT_URL": self.store_url, "API_BASE_URL": self.server_url, "ROBOFLOW_API_KEY": KEY}
        return clean_environment() | AMAZON | own | {"TELEMETRY_OPT_OUT": "True"}

    def ask(self, path: str) -> dict[str, Any]:
        """An answer of data staging."""
        url = f"{self.server_url}/data-staging/v1/external/local/batches{path}?api_key={KEY}&pageSize=1000"
        with urlopen(url, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    if not CLIENT.exists():
        raise SystemExit("the official client is not installed: run make bench, or make .venv-contract/ready")
    turns: dict[str, list[Turn]] = {OFFICIAL: [], OURS: []}
    for number in range(options.rounds):
        for name, taken in turns.items():
            folder = work / f"{number}-{len(name)}"
            folder.mkdir()
            taken.append(_turn(name, folder, options.objects))
        walls = ", ".join(f"{taken[-1].cost.seconds:.1f} s" for taken in turns.values())
        note(f"references, round {number + 1}: {walls}")
    what = f"{options.objects:,} objects on an S3 emulator, submitted by reference, {os.cpu_count()} cores"
    medians = f"(median of {options.rounds})"
    head = (what, f"wall s {medians}", "of the peer's wall", f"CPU s {medians}", "of the peer's CPU", "peak memory")
    rows = [_row(name, taken, turns[OFFICIAL]) for name, taken in turns.items()]
    print_table((*head, "of the wall: CPU s of the S3 emulator", "CPU s of the batch server"), *rows)


def _row(name: str, taken: list[Turn], peer: list[Turn]) -> tuple[str, ...]:
    walls = [turn.cost.seconds for turn in taken]
    cpus = [turn.cost.cpu_seconds for turn in taken]
    return (
        name,
        f"{statistics.median(walls):.1f}",
        spread([wall / turn.cost.seconds for wall, turn in zip(walls, peer, strict=True)]),
        f"{statistics.median(cpus):.1f}",
        spread([cpu / turn.cost.cpu_seconds for cpu, turn in zip(cpus, peer, strict=True)]),
        f"{statistics.median(turn.cost.peak_mb for turn in taken):.0f} MB",
        f"{statistics.median(turn.store_seconds for turn in taken):.1f}",
        f"{statistics.median(turn.server_seconds for turn in taken):.1f}",
    )


def _turn(name: str, folder: Path, count: int) -> Turn:
    """Has one contender submit everything.

    Raises:
        SystemExit: it failed, or not everything was submitted.
    """
    with _servers(folder, count) as servers:
        before = cpu_seconds(servers.store), cpu_seconds(servers.server)
        cost = run(_command(name, folder), servers.environment())
        after = cpu_seconds(servers.store), cpu_seconds(servers.server)
        submitted = wait_for(lambda: _submitted(servers), "the batch server to be done", SETTLED_SECONDS)
    if submitted != count:
        raise SystemExit(f"{submitted} of {count} objects were submitted by {name}")
    return Turn(cost, after[0] - before[0], after[1] - before[1])


def _command(name: str, folder: Path) -> list[str | Path]:
    if name == OURS:
        return [sys.executable, "-m", "tests.benchmarks.submit", SOURCE, folder / "runs"]
    batch = [CLIENT, "rf-cloud", "data-staging", "create-batch-of-images", "--batch-id", "bench"]
    return [*batch, "--data-source", "cloud-storage", "--bucket-path", f"{SOURCE}/"]


def _submitted(servers: Servers) -> int:
    """References that arrived, once the server has refused to fetch them all; 0 before."""
    (batch,) = servers.ask("")["batches"]
    shards = servers.ask(f"/{batch['batchId']}/shards")["shards"]
    if any(shard["statusType"] == "info" for shard in shards):
        return 0
    return sum(len(shard["statusMetadata"]["failedFiles"]) for shard in shards)


@contextmanager
def _servers(folder: Path, count: int) -> Iterator[Servers]:
    """The S3 emulator with its objects, and the batch server."""
    store, server = free_port(), free_port()
    fill = [PYTHON, Path(__file__).with_name("serve_s3.py"), str(store), BUCKET, str(count)]
    serve = [sys.executable, "-m", "deployments.batch_server", "--port", str(server), "--data", folder / "server"]
    keys = {"ROBOFLOW_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    with (
        running(fill, lambda: speaks_http(store), folder / "s3.log") as store_pid,
        running(serve, lambda: speaks_http(server), folder / "server.log", keys) as server_pid,
    ):
        servers = Servers(store_pid, server_pid, f"http://127.0.0.1:{store}", f"http://127.0.0.1:{server}")
        with urlopen(f"{servers.store_url}/{BUCKET}?list-type=2", timeout=60):
            yield servers
