"""Objects in a bucket listed, signed and submitted by reference: a run up to its submission, and the official client.

Both are whole processes, started anew, their imports included, that talk to the same servers: moto's S3, started afresh
for each contender's turn, and our batch server, started afresh for each process. A turn is two processes: for the first
the S3 emulator makes its pages, for the second it has them ready, which shows what the contender itself takes.

No host is allowed to the batch server, so it refuses to fetch anything, and what it does after its answer is waited for
outside the time.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
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
OURS = "`darkroom`'s stage and ingest until everything is submitted"
PAGES = ("made by the emulator", "ready in the emulator")
SETTLED_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    pid: int
    url: str

    def ask(self, path: str) -> Any:
        """The batch server's answer to a call of data staging."""
        url = f"{self.url}/data-staging/v1/external/local/batches{path}?api_key={KEY}&pageSize=1000"
        with urlopen(url, timeout=60) as answer:
            return json.load(answer)


@dataclass(frozen=True)
class Submission:
    """One process of a contender, and the CPU time that the S3 emulator and the batch server spent meanwhile."""

    cost: Cost
    store_seconds: float
    server_seconds: float


def measure(work: Path, options: Namespace) -> None:
    """Prints the table."""
    if not CLIENT.exists():
        raise SystemExit("the official client is not installed: make .venv-contract/ready")
    taken: dict[tuple[str, str], list[Submission]] = {(name, pages): [] for pages in PAGES for name in (OFFICIAL, OURS)}
    for number in range(options.rounds):
        for name in (OFFICIAL, OURS):
            folder = work / f"{number}-{len(name)}"
            folder.mkdir()
            for pages, submission in zip(PAGES, _turn(name, folder, options.objects), strict=True):
                taken[name, pages].append(submission)
        walls = ", ".join(f"{submissions[-1].cost.seconds:.1f} s" for submissions in taken.values())
        note(f"references, round {number + 1}: {walls}")
    what = f"{options.objects:,} objects on an S3 emulator submitted by reference, {os.cpu_count()} cores"
    median = f"(median of {options.rounds})"
    cost = (f"wall s {median}", "of the client's", f"CPU s {median}", "of the client's CPU", "peak memory")
    besides = ("meanwhile: CPU s of the emulator", "of the batch server")
    rows = [_row(key, submissions, taken[OFFICIAL, key[1]]) for key, submissions in taken.items()]
    print_table((what, "pages", *cost, *besides), *rows)


def _row(key: tuple[str, str], ours: list[Submission], peer: list[Submission]) -> tuple[str, ...]:
    def middle(look: Callable[[Submission], float]) -> str:
        return f"{statistics.median(map(look, ours)):.1f}"

    def share(look: Callable[[Cost], float]) -> str:
        return spread([look(mine.cost) / look(theirs.cost) for mine, theirs in zip(ours, peer, strict=True)])

    return (
        *key,
        middle(lambda submission: submission.cost.seconds),
        share(lambda cost: cost.seconds),
        middle(lambda submission: submission.cost.cpu_seconds),
        share(lambda cost: cost.cpu_seconds),
        f"{max(submission.cost.peak_mb for submission in ours):.0f} MB",
        middle(lambda submission: submission.store_seconds),
        middle(lambda submission: submission.server_seconds),
    )


def _turn(name: str, folder: Path, count: int) -> Iterator[Submission]:
    """A contender's two processes."""
    with _store(folder, count) as store:
        for pages in PAGES:
            within = folder / pages.partition(" ")[0]
            within.mkdir()
            with _batch_server(within) as server:
                yield _submit(name, within, store, server, count)


def _submit(name: str, folder: Path, store: Server, server: Server, count: int) -> Submission:
    """Has one contender submit everything.

    Raises:
        SystemExit: it failed, or not everything was submitted.
    """
    own = {"AWS_ENDPOINT_URL": store.url, "API_BASE_URL": server.url, "ROBOFLOW_API_KEY": KEY}
    environment = clean_environment() | AMAZON | own | {"TELEMETRY_OPT_OUT": "True"}
    before = cpu_seconds(store.pid), cpu_seconds(server.pid)
    cost = run(_command(name, folder), environment)
    after = cpu_seconds(store.pid), cpu_seconds(server.pid)
    submitted = wait_for(lambda: _submitted(server), "the batch server to be done", SETTLED_SECONDS)
    if submitted != count:
        raise SystemExit(f"{submitted} of {count} objects were submitted by {name}")
    return Submission(cost, after[0] - before[0], after[1] - before[1])


def _command(name: str, folder: Path) -> list[str | Path]:
    if name == OURS:
        return [sys.executable, "-m", "tests.benchmarks.submit", SOURCE, folder / "runs"]
    asked = ["--data-source", "cloud-storage", "--bucket-path", f"{SOURCE}/", "--batch-id", "bench"]
    return [CLIENT, "rf-cloud", "data-staging", "create-batch-of-images", *asked]


def _submitted(server: Server) -> int:
    """References that arrived, once the server has refused to fetch them all; 0 before."""
    (batch,) = server.ask("")["batches"]
    shards = server.ask(f"/{batch['batchId']}/shards")["shards"]
    if any(shard["statusType"] == "info" for shard in shards):
        return 0
    return sum(len(shard["statusMetadata"]["failedFiles"]) for shard in shards)


@contextmanager
def _store(folder: Path, count: int) -> Iterator[Server]:
    """The S3 emulator with its objects, warmed up by one request."""
    port = free_port()
    command = (PYTHON, Path(__file__).with_name("serve_s3.py"), str(port), BUCKET, str(count))
    with running(command, lambda: speaks_http(port), folder / "s3.log") as pid:
        store = Server(pid, f"http://127.0.0.1:{port}")
        with urlopen(f"{store.url}/{BUCKET}?list-type=2", timeout=60):
            yield store


@contextmanager
def _batch_server(folder: Path) -> Iterator[Server]:
    port = free_port()
    command = (sys.executable, "-m", "deployments.batch_server", "--port", str(port), "--data", folder / "server")
    variables = {"ROBOFLOW_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    with running(command, lambda: speaks_http(port), folder / "server.log", variables) as pid:
        yield Server(pid, f"http://127.0.0.1:{port}")
