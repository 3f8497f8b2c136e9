"""The real thing for the chaos tests: both servers and the command line, as child processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from PIL import Image

from tasks.core.services import ManagedService, free_port
from tests.chaos.plan import KillAt, Matching, Moment
from tests.chaos.proxy import FaultProxy, armed

ROOT = Path(__file__).parents[2]
API_KEY = "chaos-key"
RUN_SECONDS = 90.0
LAST_LINE = re.compile(r"^run ([0-9a-f]{16}): (\d+) processed, (\d+) failed, (\d+) rejected, .* s -> (.+)$")
PLAIN = ("-c", "import sys; from flows.cli import main; sys.exit(main())")


def environment(**extra: str) -> dict[str, str]:
    """What children see: this process's variables without its settings for Prefect and the platforms."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROBOFLOW_"))
    }
    return kept | {"PYTHONPATH": str(ROOT)} | extra


class BatchServer:
    """``python -m deployments.batch_server`` on a port and a folder that outlive its process."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._data = data
        self._log = data.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process, "the batch server is not started"
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits for its word that it is ready."""
        command = [sys.executable, "-m", "deployments.batch_server", "--port", str(self.port)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--data", str(self._data), "--api-key", API_KEY],
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("batch server ready on "):
                return
        raise AssertionError(f"the batch server did not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        """Ends it, however it is."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    status: int
    output: str
    errors: str

    @property
    def last_line(self) -> re.Match[str]:
        """The line that the command line promises, taken apart."""
        found = LAST_LINE.match((self.output.strip().splitlines() or [""])[-1])
        assert found, f"no last line; status {self.status}\n{self.output}\n{self.errors}"
        return found


@dataclass
class House:
    """Everything a chaos test needs; the commands talk to the server through the proxy."""

    server: BatchServer
    proxy: FaultProxy
    prefect_url: str
    folder: Path
    photos: Path
    images: int

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @contextmanager
    def start(self, label: str, *launch: str) -> Iterator[subprocess.Popen[str]]:
        """``darkroom run`` for the run with this label, under way; what is left of it at the end is killed.

        Args:
            label: makes it a run of its own.
            launch: options of :mod:`tests.chaos.launch`; without any, the plain command runs.
        """
        python = ("-m", "tests.chaos.launch", "--under", str(self.runs), *launch, "--") if launch else PLAIN
        arguments = ["run", str(self.photos), "--workflow", "minimal", "--platform", self.proxy.url]
        child = subprocess.Popen(
            [sys.executable, *python, *arguments, "--runs", str(self.runs), "--rerun", label],
            cwd=self.folder,
            env=environment(
                ROBOFLOW_API_KEY=API_KEY,
                PREFECT_API_URL=self.prefect_url,
                PREFECT_HOME=str(self.folder / "prefect-client"),
                DARKROOM_HOME=str(self.folder / "home"),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with child:
            try:
                yield child
            finally:
                child.kill()

    def run(self, label: str, *launch: str) -> Outcome:
        """Runs the command to its end, or to the end that ``launch`` makes of it."""
        with self.start(label, *launch) as child:
            return finish(child)

    def run_and_kill(self, label: str, moment: Moment, matching: Matching) -> Outcome:
        """Runs the command and kills it at the first call that matches."""
        kill = KillAt(lambda: child.pid, 0, moment, matching)
        with armed(self.proxy, kill), self.start(label) as child:
            return finish(child)

    def get(self, path: str, **params: str) -> Any:
        """Asks the server itself, past the proxy."""
        answer = httpx.get(
            self.server.url + path, params={**params, "api_key": API_KEY}, timeout=30, trust_env=False
        )
        answer.raise_for_status()
        return answer.json()

    def pages(self, path: str, field: str) -> list[dict[str, Any]]:
        """All of a paged list."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self.get(path, pageSize="1000", **token)
            found += page[field]
            if not page.get("nextPageToken"):
                return found
            token = {"nextPageToken": page["nextPageToken"]}


def finish(child: subprocess.Popen[str]) -> Outcome:
    """Waits for a command, within bounds."""
    try:
        output, errors = child.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
        raise AssertionError(f"still running after {RUN_SECONDS:g} s:\n{output}\n{errors}") from None
    return Outcome(child.returncode, output, errors)


def assert_whole(house: House, outcome: Outcome) -> None:
    """Nothing is lost and nothing is there twice: in the results, in the batch, among the jobs."""
    assert outcome.status == 0, outcome.errors
    assert "Traceback" not in outcome.output + outcome.errors
    key, processed, failed, rejected, _ = outcome.last_line.groups()
    assert (int(processed), int(failed), int(rejected)) == (house.images, 0, 0)
    staged = pq.read_table(house.runs / key / "manifest.parquet", columns=["name"])["name"].to_pylist()
    once = dict.fromkeys(staged, 1)
    assert len(once) == house.images
    results = pq.read_table(house.runs / key / "results.parquet", columns=["file"])["file"].to_pylist()
    assert Counter(results) == once
    workspace = house.get("/")["workspace"]
    batch, jobs = f"dr-{key}", f"/batch-processing/v1/external/{workspace}/jobs"
    files = house.pages(f"/data-staging/v1/external/{workspace}/batches/{batch}/list", "filesMetadata")
    assert Counter(file["fileName"] for file in files) == once
    of_batch = [job for job in house.pages(jobs, "jobs") if job["jobDefinition"]["jobInput"]["batchId"] == batch]
    assert [job["jobId"] for job in of_batch] == [batch]


def make_photos(folder: Path, count: int) -> Path:
    """Small images, no two alike."""
    folder.mkdir()
    for number in range(count):
        colour = (number % 256, number // 256 * 60, 128)
        Image.new("RGB", (32, 32), colour).save(folder / f"photo-{number:04d}.png")
    return folder


@contextmanager
def open_house(folder: Path, images: int) -> Iterator[House]:
    """Starts the servers; one house is enough for a module, since every label is a run of its own."""
    home = folder / "prefect"
    prefect = ManagedService(
        "prefect",
        lambda port: [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        env=environment(
            PREFECT_HOME=str(home),
            PREFECT_UI_STATIC_DIRECTORY=str(home / "ui"),
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
        ),
        state_dir=home,
        health_path="/api/health",
    )
    server = BatchServer(folder / "server")
    prefect.prestart()
    try:
        server.start()
        photos = make_photos(folder / "photos", images)
        (folder / "runs").mkdir()
        with prefect.use() as url, FaultProxy(server.url) as proxy:
            yield House(server, proxy, f"{url}/api", folder, photos, images)
        assert proxy.problems == []
    finally:
        server.stop()
        prefect.release()
        prefect.stop()
