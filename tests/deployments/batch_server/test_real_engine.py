"""The server with Roboflow's engine, killed in the middle of a job."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.deployments.batch_server.running import ROOT, ServerClient, job_body, process_server
from tests.waiting import is_alive, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not (ROOT / ".venv-engine/bin/python").exists(), reason="the engine's environment is not installed"
    ),
]


def image(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for task in found.parent.parent.glob("*/children") for child in task.read_text().split()]


def results(server: ServerClient, job: str) -> list[dict[str, object]]:
    files = server.files(f"{job}-export", "aggregated-results")
    return [json.loads(line) for content in files.values() for line in content.splitlines()]


def test_server_killed_mid_job_with_the_engine_finishes_it_and_leaves_no_process(tmp_path: Path) -> None:
    images = {f"{number:03d} é.png": image(255 * (number % 2)) for number in range(240)} | {"bad.png": b"none"}
    specification = {"workflowId": "photo-audit", "persistImagesOutputs": True}
    with process_server(tmp_path) as first:
        first.client.fill("b", images)
        first.client.jobs("POST", "/j", json=job_body("b", specification=specification))
        wait_for(lambda: first.client.count("j-processing") > 0, "the first task", timeout=90)
        engine = children(first.process.pid)
        assert engine
        assert not first.client.jobs("GET", "/j").json()["job"]["isTerminal"]
        first.kill()
    with process_server(tmp_path) as second:
        found = second.client.finished("j")
        assert found["lastNotification"] == "240 images processed, 1 failed", found
        assert [line["image"] for line in results(second.client, "j")] == list(images)[:-1]
        assert second.terminate() == ""
    wait_for(lambda: not any(map(is_alive, engine)), "the end of the first server's engine")
