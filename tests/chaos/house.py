"""The real thing for the chaos tests: both servers and the command line, as child processes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from PIL import Image

from tasks.core.services import free_port
from tests.chaos.calls import sends_references
from tests.chaos.plan import KillAt, Matching, Moment
from tests.chaos.proxy import FaultProxy, armed
from tests.commands import ROOT, Outcome, clean_environment
from tests.forkserver.client import ForkedModule
from tests.prefect_server import WITHOUT_EVENTS, PrefectServer, prefect_server, prepare_home

API_KEY = "chaos-key"
IMAGES = 72
SHARDS = 2
"""Two shards and several tasks, so that there is a first and a last of each."""
SMALL_SHARDS = ("--constant", "deployments.batch_server.routes.staging:MAX_IMAGES_PER_SHARD=64")
RUN_SECONDS = 90.0
KILL_SECONDS = 60.0
WORKFLOW = "count-and-grey"
DEFINITION = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [
        {
            "type": "roboflow_core/pixel_color_count@v1",
            "name": "count",
            "image": "$inputs.image",
            "target_color": "#ffffff",
            "tolerance": 40,
        },
        {"type": "roboflow_core/convert_grayscale@v1", "name": "grey", "image": "$inputs.image"},
    ],
    "outputs": [
        {"type": "JsonField", "name": "matching_pixels", "selector": "$steps.count.matching_pixels_count"},
        {"type": "JsonField", "name": "grey", "selector": "$steps.grey.image"},
    ],
}
"""Quick, and with an image output, so that there are archives to unpack."""
EMBEDDED = ("--platform", "embedded", "--workflow", "minimal")
LOOPBACK = ("--allow-host", "127.0.0.1")
"""Where the storage is that the server fetches references from."""


class BatchServer:
    """``python -m deployments.batch_server`` on a port and a folder that outlive its process."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = data
        self._log = data.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process, "the batch server is not started"
        return self._process

    def start(self, *launch: str) -> None:
        """Starts it and waits for its word that it is ready.

        Args:
            launch: options of :mod:`tests.chaos.launch`, which then makes it end by itself.
        """
        entry = ("--under", str(self.data), "--entry", "deployments.batch_server.__main__:main", "--")
        with self._log.open("a") as log:
            self._process = ForkedModule(
                *("tests.chaos.launch", *SMALL_SHARDS, *launch, *entry),
                *("--port", str(self.port), "--data", str(self.data), *LOOPBACK),
                cwd=ROOT,
                env=clean_environment(ROBOFLOW_API_KEY=API_KEY),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("batch server ready on "):
                return
        raise AssertionError(f"the batch server did not start:\n{self._log.read_text()}")

    def wait_for_kill(self) -> None:
        """Waits, within bounds, until it has been killed."""
        self.process.communicate(timeout=KILL_SECONDS)
        assert self.process.returncode == -signal.SIGKILL
        self._process = None

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


@dataclass
class House:
    """Everything a chaos test needs; the commands talk to the server through the proxy."""

    server: BatchServer
    proxy: FaultProxy
    prefect: PrefectServer
    folder: Path
    photos: Path
    images: int

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def home(self) -> Path:
        """Where the managed services of the commands live, if they use any."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command here."""
        own = {"ROBOFLOW_API_KEY": API_KEY, "DARKROOM_HOME": str(self.home), "PREFECT_LOGGING_TO_API_ENABLED": "false"}
        return own | self.prefect.environment

    @contextmanager
    def start(
        self, label: str, *launch: str, source: Path | str = "", options: Sequence[str] = (), **variables: str
    ) -> Iterator[subprocess.Popen[str]]:
        """``darkroom run`` for the run with this label, under way; what is left of it at the end is killed.

        Args:
            label: makes it a run of its own.
            launch: options of :mod:`tests.chaos.launch`; without any, the plain command runs.
            source: the photographs' folder or URL, where they are not the house's.
            options: further words for the command; they win over the house's own.
            variables: of the environment, likewise.
        """
        module = ("tests.chaos.launch", "--under", str(self.runs), *launch, "--") if launch else ("flows.cli",)
        arguments = ["run", str(source or self.photos), "--workflow", WORKFLOW, "--platform", self.proxy.url]
        child = ForkedModule(
            *(*module, *arguments, "--runs", str(self.runs), "--rerun", label, *options),
            cwd=self.folder,
            env=clean_environment(**self.environment | variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with child:
            try:
                yield child
            finally:
                child.kill()

    def run(self, label: str, *launch: str, **different: Any) -> Outcome:
        """Runs the command to its end, or to the end that ``launch`` makes of it; arguments as in :meth:`start`."""
        with self.start(label, *launch, **different) as child:
            return finish(child)

    def run_and_kill(
        self,
        label: str,
        moment: Moment,
        matching: Matching,
        *launch: str,
        proxy: FaultProxy | None = None,
        **different: Any,
    ) -> Outcome:
        """Runs the command and kills it at the first call that matches, to the server or through another proxy."""
        kill = KillAt(lambda: child, 0, moment, matching)
        # Armed once the command is there: what an earlier one has left under way on the server could match before.
        with self.start(label, *launch, **different) as child, armed(proxy or self.proxy, kill):
            return finish(child)

    def get(self, path: str, **params: str) -> Any:
        """Asks the server itself, past the proxy."""
        answer = httpx.get(self.server.url + path, params={**params, "api_key": API_KEY}, timeout=30, trust_env=False)
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


def assert_killed(outcome: Outcome, where: object) -> None:
    """The command met its end there."""
    assert outcome.status == -signal.SIGKILL, f"{where}: {outcome}"


def assert_whole(house: House, outcome: Outcome, images: int | None = None, runs: Path | None = None) -> Path:
    """Nothing is lost and nothing is there twice: in the results, in the batch, among the jobs.

    Args:
        house: where it ran.
        outcome: how it ended.
        images: how many there were, when not the house's.
        runs: where the run's folder is, when not among the house's.
    """
    run = assert_accounted(house, outcome, house.images if images is None else images, runs)
    names = column(run / "manifest.parquet", "name")
    assert {path.parent.name for path in run.glob("export/images-archives/*/*.jpg")} == set(names)
    workspace = house.get("/")["workspace"]
    batch, jobs = f"dr-{run.name}", f"/batch-processing/v1/external/{workspace}/jobs"
    files = house.pages(f"/data-staging/v1/external/{workspace}/batches/{batch}/list", "filesMetadata")
    assert sorted(file["fileName"] for file in files) == sorted(names)
    of_batch = [job for job in house.pages(jobs, "jobs") if job["jobDefinition"]["jobInput"]["batchId"] == batch]
    assert [job["jobId"] for job in of_batch] == [batch]
    return run


def assert_accounted(house: House, outcome: Outcome, images: int, runs: Path | None = None) -> Path:
    """The command ended well and has each image once in what it made; gives the run's folder."""
    assert outcome.status == 0, outcome.errors
    assert "Traceback" not in outcome.output + outcome.errors
    key, processed, failed, rejected, _ = outcome.last_line.groups()
    assert (int(processed), int(failed), int(rejected)) == (images, 0, 0)
    run = (runs or house.runs) / key
    names = sorted(column(run / "manifest.parquet", "name"))
    assert len(set(names)) == images
    assert sorted(column(run / "results.parquet", "file")) == names
    assert sorted(exported_names(run / "export")) == names
    assert leftovers(run) == []
    return run


def column(table: Path, name: str) -> list[str]:
    """One column of a parquet file."""
    found: list[str] = pq.read_table(table, columns=[name])[name].to_pylist()
    return found


def exported_names(export: Path) -> Iterator[str]:
    """The image of every result that the server exported, before the pipeline could leave any out."""
    for file in (export / "aggregated-results").iterdir():
        for line in file.read_text().splitlines():
            yield json.loads(line)["image"]


def leftovers(run: Path) -> list[Path]:
    """Files of attempts that came to nothing; notes of what a bucket has got, and locks of a bucket's runs, stay."""
    halves = [path for path in run.rglob("*") if ".part" in path.name or ".sqlite" in path.name]
    staging = (run.parent / ".staging").iterdir()
    return [path for path in (*halves, *staging) if not fnmatch(path.name, ".sent-*.sqlite") and path.suffix != ".pull"]


def make_photos(folder: Path, count: int) -> Path:
    """Small images, no two alike."""
    folder.mkdir()
    for number in range(count):
        colour = (number % 256, number // 256 * 60, 128)
        Image.new("RGB", (32, 32), colour).save(folder / f"photo-{number:04d}.png")
    return folder


@contextmanager
def open_house(folder: Path, images: int) -> Iterator[House]:
    """Starts the servers; one house is enough for all tests, since every label is a run of its own."""
    server = BatchServer(folder / "server")
    prepare_home(folder / "home")
    try:
        (server.data / "workflows").mkdir(parents=True)
        (server.data / "workflows" / f"{WORKFLOW}.json").write_text(json.dumps(DEFINITION))
        server.start()
        photos = make_photos(folder / "photos", images)
        (folder / "runs").mkdir()
        with (
            prefect_server(folder / "prefect", **WITHOUT_EVENTS) as prefect,
            FaultProxy(server.url, keeps=sends_references) as proxy,
        ):
            yield House(server, proxy, prefect, folder, photos, images)
        assert proxy.problems == []
    finally:
        server.stop()
