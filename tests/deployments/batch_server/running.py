"""Real servers on loopback, and a client for them."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp

from deployments.batch_server.app import create_app
from deployments.batch_server.engine.interface import Engine
from deployments.batch_server.services import World
from deployments.batch_server.serving import bind
from deployments.batch_server.settings import ServerSettings
from tests.forkserver.client import ROOT as ROOT
from tests.forkserver.client import ForkedModule
from tests.waiting import wait_for

KEY = "test-key"


class ServerClient:
    """Calls a server the way its clients do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, params={"api_key": KEY}, timeout=20)
        self.bare = httpx.Client(timeout=20)

    def staging(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call of data staging, below `/batches`."""
        return self.http.request(method, f"/data-staging/v1/external/local/batches{path}", **options)

    def jobs(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call of batch processing, below `/jobs`."""
        return self.http.request(method, f"/batch-processing/v1/external/local/jobs{path}", **options)

    def upload(self, batch: str, name: str, content: bytes) -> httpx.Response:
        """A simple upload."""
        path = f"/{batch}/upload/image"
        return self.staging("POST", path, params={"fileName": name}, files={name: content})

    def allocate(self, batch: str) -> str:
        """A signed URL for an archive."""
        answer = self.staging("POST", f"/{batch}/bulk-upload/image-files")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["signedURLDetails"]["uploadURL"])

    def put(self, url: str, content: Any) -> httpx.Response:
        """A PUT to a signed URL."""
        return self.bare.put(url, content=content)

    def refer(self, batch: str, references: dict[str, str], **fields: Any) -> httpx.Response:
        """An ingest of references, URLs by name."""
        entries = [{"name": name, "url": url} for name, url in references.items()]
        return self.ingest(batch, imageReferences=entries, **fields)

    def ingest(self, batch: str, **body: Any) -> httpx.Response:
        """An ingest by reference, with this body."""
        return self.staging("POST", f"/{batch}/bulk-upload/image-references", json=body)

    def images(self, batch: str) -> dict[str, bytes]:
        """The images of a batch, downloaded."""
        listed = self.staging("GET", f"/{batch}/list").json()["filesMetadata"]
        return {entry["fileName"]: self.bare.get(entry["downloadURL"]).content for entry in listed}

    def shards(self, batch: str) -> list[dict[str, Any]]:
        """The shards once none is being indexed."""

        def settled() -> list[dict[str, Any]] | None:
            shards = self.staging("GET", f"/{batch}/shards").json()["shards"]
            return shards if shards and all(shard["statusType"] != "info" for shard in shards) else None

        return wait_for(settled, f"the shards of {batch}") or []

    def fill(self, batch: str, images: dict[str, bytes]) -> None:
        """Put images into a sharded batch, and wait until they are ingested."""
        assert self.put(self.allocate(batch), archive(images)).status_code == 200
        self.shards(batch)

    def count(self, batch: str, **params: str) -> int:
        """What is ingested."""
        return int(self.staging("GET", f"/{batch}/count", params=params).json()["count"])

    def files(self, batch: str, part: str) -> dict[str, bytes]:
        """The files of a part, downloaded."""
        listed = self.staging("GET", f"/{batch}/list", params={"partName": part}).json()["filesMetadata"]
        return {entry["fileName"]: self.bare.get(entry["downloadURL"]).content for entry in listed}

    def started(self, job: str, batch: str, **changes: Any) -> dict[str, Any]:
        """The job right after its start."""
        answer = self.jobs("POST", f"/{job}", json=job_body(batch, **changes))
        assert answer.status_code == 200, answer.text
        return self.job(job)

    def restarted(self, job: str, **overrides: Any) -> dict[str, Any]:
        """The job right after a restart."""
        body = {"json": {"type": "parameters-override-v1", **overrides}} if overrides else {}
        answer = self.jobs("POST", f"/{job}/restart", **body)
        assert answer.status_code == 200, answer.text
        return self.job(job)

    def job(self, job: str) -> dict[str, Any]:
        """The job as it is now."""
        found: dict[str, Any] = self.jobs("GET", f"/{job}").json()["job"]
        return found

    def tasks(self, job: str) -> list[dict[str, Any]]:
        """The tasks of the processing stage."""
        found: list[dict[str, Any]] = self.jobs("GET", f"/{job}/stages/processing/tasks").json()["tasks"]
        return found

    def logs(self, job: str, **params: str) -> list[dict[str, Any]]:
        """The lines of the job's log."""
        found: list[dict[str, Any]] = self.jobs("GET", f"/{job}/logs", params=params).json()["logs"]
        return found

    def exported(self, job: str) -> list[str]:
        """The images in the aggregated results of a job, in order."""
        files = self.files(f"{job}-export", "aggregated-results")
        return [json.loads(line)["image"] for _, content in sorted(files.items()) for line in content.splitlines()]

    def standing(self) -> str:
        """The id of the only job, once a task of it is done; then the engine is told to stand still."""

        def standing() -> str:
            jobs = self.jobs("GET", "").json()["jobs"]
            return str(jobs[0]["jobId"]) if jobs and self.count(f"{jobs[0]['jobId']}-processing") else ""

        return wait_for(standing, "a job that stands still", timeout=60)

    def finished(self, job: str) -> dict[str, Any]:
        """The job once it has ended."""

        def terminal() -> dict[str, Any] | None:
            found = self.job(job)
            return found if found["isTerminal"] else None

        return wait_for(terminal, f"the end of job {job}", timeout=60) or {}


def job_body(batch: str, **changes: Any) -> dict[str, Any]:
    """The body of a job request; `specification` and other fields may be changed."""
    specification = {
        "type": "workflows-processing-specification-v1",
        "workspace": "local",
        "workflowId": "minimal",
        **changes.pop("specification", {}),
    }
    return {
        "type": "simple-image-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": batch},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": specification,
        **changes,
    }


def archive(images: dict[str, bytes]) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer) as tar:
        for name, content in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    """The members of a `.tar.gz`."""
    with tarfile.open(mode="r:gz", fileobj=io.BytesIO(content)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def settings_for(data: Path, **changes: Any) -> ServerSettings:
    """Settings of a test server."""
    data.mkdir(exist_ok=True, parents=True)
    return ServerSettings(data=data, api_key=SecretStr(KEY), url_secret=SecretStr("url-secret"), **changes)


@contextmanager
def thread_server(settings: ServerSettings, engine: Engine, world: World | None = None) -> Iterator[ServerClient]:
    """A server in a thread of this process."""
    with served(create_app(settings, engine, world)) as client:
        yield client


@contextmanager
def served(app: ASGIApp) -> Iterator[ServerClient]:
    """An application in a thread of this process."""
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    client = ServerClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        wait_for(lambda: server.started, "the server")
        yield client
    finally:
        client.http.close()
        client.bare.close()
        server.should_exit = True
        thread.join()
        listener.close()


class ProcessServer:
    """A server as a process of its own; its output is kept."""

    def __init__(self, data: Path, *arguments: str, module: str = "deployments.batch_server") -> None:
        self.data = data
        words = ("--port", "0", "--data", str(data), *arguments)
        environment, pipe = {**os.environ, "ROBOFLOW_API_KEY": KEY, "PYTHONPATH": str(ROOT)}, subprocess.PIPE
        self.process = ForkedModule(module, *words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        assert self.ready, self.process.communicate()[1]
        self.client = ServerClient(self.ready.split()[4])

    def kill(self) -> None:
        """SIGKILL, as from the kernel when memory runs out."""
        self.process.kill()
        self.process.communicate()

    def terminate(self) -> str:
        """SIGTERM; gives what was written to standard error, after a clean end."""
        self.process.terminate()
        return self.process.communicate(timeout=10)[1]

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        self.client.http.close()
        self.client.bare.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        if self.process.returncode is None:
            self.process.communicate()


@contextmanager
def process_server(data: Path, *arguments: str, module: str = "deployments.batch_server") -> Iterator[ProcessServer]:
    """A server as a process of its own, gone at the end whatever happens."""
    server = ProcessServer(data, *arguments, module=module)
    try:
        yield server
    finally:
        server.close()
