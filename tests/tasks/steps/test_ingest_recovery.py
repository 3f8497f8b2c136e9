"""What ingest makes of a run whose process was killed between a write and its record."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.roboflow_api.models import MAX_IMAGE_BYTES
from tasks.steps.ingest import ingest
from tasks.steps.stage import load_staged
from tests.deployments.batch_server.running import ServerClient
from tests.images import make_images
from tests.tasks.steps.conftest import Bench

IMAGES = 257
"""One more than a shard takes."""


def grow(image: Path, size: int) -> None:
    with image.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("kept", ['"way"', "shard-000000"])
def test_file_refused_in_a_shard_without_a_record_keeps_the_platforms_reason(
    bench: Bench, server: ServerClient, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    monkeypatch.setattr("tasks.media.manifest.check_size", lambda size: None)
    make_images(bench.source, IMAGES)
    grow(min(bench.source.iterdir()), MAX_IMAGE_BYTES + 1)
    run = bench.staged()
    files = load_staged(run.folder).to_send
    ingest(run, files)
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    run.folder.journal.write_text("".join(line for line in lines if '"intent"' in line or kept in line))
    again = ingest(bench.opened(run.target, run.folder), files)
    assert (again.sent, again.failed) == (IMAGES - 1, 1)
    lost = pq.read_table(run.folder.ingest, filters=[("state", "=", "failed")]).to_pylist()
    assert [f"{MAX_IMAGE_BYTES}B" in row["reason"] for row in lost] == [True]
    assert len(server.shards(run.remote_id)) == 2
