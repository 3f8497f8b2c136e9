"""The official command line, unmodified, against a real server with the real engine."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.official import call, needs_client
from tests.deployments.batch_server.media_host import Answer, media_host
from tests.deployments.batch_server.running import ROOT, ProcessServer, process_server
from tests.emulators.fixtures import *  # noqa: F403

ENGINE = ROOT / ".venv-engine" / "bin" / "python"

pytestmark = [
    *needs_client,
    pytest.mark.engine,
    pytest.mark.skipif(not ENGINE.exists(), reason="the engine's environment is not installed: make setup"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    with process_server(tmp_path_factory.mktemp("server"), "--allow-host", "127.0.0.1") as running:
        yield running
        assert running.terminate() == ""


def small_png(shade: int) -> bytes:
    """A PNG of 8 by 8 pixels in one colour."""
    pixels = b"".join(b"\0" + bytes([shade, shade, shade]) * 8 for _ in range(8))

    def piece(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", zlib.compress(pixels)) + piece(b"IEND", b"")


@pytest.mark.parametrize(("images", "batch_type"), [(5, "simple-batch"), (600, "sharded-batch")])
def test_official_client_stages_processes_and_exports(
    server: ProcessServer, tmp_path: Path, images: int, batch_type: str
) -> None:
    batch, job = f"batch-{images}", f"job-{images}"
    names = [f"image {number:03d} é.png" for number in range(images)]
    (tmp_path / "images").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "images" / name).write_bytes(small_png(255 if number % 2 else 0))

    folder = str(tmp_path / "images")
    call(server, "data-staging", "create-batch-of-images", "--batch-id", batch, "--images-dir", folder)
    details = call(server, "data-staging", "show-batch-details", "--batch-id", batch)
    assert batch_type in details

    start = ("process-images-with-workflow", "--batch-id", batch, "--workflow-id", "minimal", "--job-id", job)
    assert job in call(server, "batch-processing", *start)
    assert not server.client.finished(job)["error"]
    assert "All Good" in call(server, "batch-processing", "show-job-details", "--job-id", job)
    assert str(images) in call(server, "data-staging", "show-batch-details", "--batch-id", batch)

    target = tmp_path / "export"
    export = f"{job}-export"
    assert "results-archives" in call(server, "data-staging", "show-batch-details", "--batch-id", export)
    call(server, "data-staging", "export-batch", "--batch-id", export, "--target-dir", str(target))
    lines = [
        json.loads(line)
        for path in sorted((target / "aggregated-results").glob("*.jsonl"))
        for line in io.StringIO(path.read_text())
    ]
    assert sorted(line["image"] for line in lines) == names
    assert {line["matching_pixels"] for line in lines} == {0, 64}
    single = {path.parent.name: json.loads(path.read_text()) for path in target.glob("results-archives/*/results.json")}
    assert single == {line["image"]: line for line in lines}


def test_official_client_stages_references(server: ProcessServer, tmp_path: Path) -> None:
    names = [f"image {number:02d} é.png" for number in range(40)]
    with media_host() as media:
        media.answers = {f"/{number}": Answer(body=small_png(number)) for number in range(len(names))}
        lines = [json.dumps({"name": name, "url": media.url(f"/{number}")}) for number, name in enumerate(names)]
        (tmp_path / "references.jsonl").write_text("\n".join(lines))
        words = ("--data-source", "references-file", "--references", str(tmp_path / "references.jsonl"))
        create = ("data-staging", "create-batch-of-images", "--batch-id", "referred", *words, "--ingest-id", "mine")
        assert "mine" in call(server, *create)
        (shard,) = server.client.shards("referred")
        assert "deduplicated" in call(server, *create)
        assert len(media.asked) == len(names)
    assert shard["shardObjectsCount"] == server.client.count("referred") == len(names)
    assert shard["shardId"] in call(server, "data-staging", "list-ingest-details", "--batch-id", "referred")


def test_official_client_stages_a_bucket(server: ProcessServer, s3: Any) -> None:
    for number in range(12):
        s3.put(f"day {number % 2}/{number}.png", small_png(number))
    words = ("--data-source", "cloud-storage", "--bucket-path", f"{s3.url}/**/*.png")
    create = ("data-staging", "create-batch-of-images", "--batch-id", "bucket", *words)
    call(server, *create, **s3.environment)
    (shard,) = server.client.shards("bucket")
    assert (shard["statusType"], shard["shardObjectsCount"]) == ("success", 12)
