"""Refusals that a step must get over, or name, met on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from tasks.core.errors import Conflict, JobTimedOut, NotFound, RunFailed
from tasks.roboflow_api.models import FileMetadata, JobMetadata, SignedUrlDetails
from tasks.roboflow_api.processing import ProcessingApi
from tasks.roboflow_api.retrying import RetryPolicy, Timing
from tasks.roboflow_api.staging import StagingApi
from tasks.steps.context import Run
from tasks.steps.export import export
from tasks.steps.ingest import ingest
from tasks.steps.launch import launch
from tasks.steps.uploads import SIMPLE_UPLOAD_MOST
from tasks.steps.wait import wait
from tests.deployments.batch_server.running import ServerClient, job_body, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_images
from tests.tasks.steps.conftest import Bench

SHARDED = SIMPLE_UPLOAD_MOST + 1


class StaleUrls(StagingApi):
    """Hands out each signed URL spoiled the first time, as a URL that has expired; the server refuses it with 403."""

    spoiled = 0

    def shard_upload(self, batch_id: str, display_name: str) -> SignedUrlDetails:
        place = super().shard_upload(batch_id, display_name)
        return place.model_copy(update={"upload_url": self._spoil(place.upload_url)}) if not self.spoiled else place

    def files(self, batch_id: str, part: str | None = None) -> Iterator[FileMetadata]:
        first = not self.spoiled
        for file in super().files(batch_id, part):
            yield file.model_copy(update={"download_url": self._spoil(file.download_url)}) if first else file

    def _spoil(self, url: str) -> str:
        self.spoiled += 1
        return url[:-4] + "0000"


class LateJob(ProcessingApi):
    """Does not find the job at the first look, as when another process posts it just afterwards."""

    looks = 0

    def job(self, job_id: str, policy: RetryPolicy | None = None) -> JobMetadata:
        self.looks += 1
        if self.looks == 1:
            raise NotFound("not yet")
        return super().job(job_id, policy)


def with_stale_urls(run: Run) -> tuple[Run, StaleUrls]:
    platform = run.platform
    stale = StaleUrls(platform.staging.transport, platform.workspace)
    return replace(run, target=replace(run.target, platform=replace(platform, staging=stale))), stale


def test_ingest_asks_for_a_new_url_when_one_is_refused(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, SHARDED)
    run = bench.staged()
    run.journal.confirm("ingest", "limits", images=256, bytes=1 << 26)  # so that the first URL is the shard's
    stale_run, stale = with_stale_urls(run)
    assert ingest(stale_run, SHARDED).sent == SHARDED
    assert stale.spoiled == 1
    assert len(server.shards(run.remote_id)) == 1


def test_export_lists_again_when_a_url_is_refused(bench: Bench) -> None:
    make_images(bench.source, 3)
    run = bench.staged()
    ingest(run, 3)
    launch(run)
    finished = wait(run)
    stale_run, stale = with_stale_urls(run)
    assert export(stale_run, finished).rows == 3
    assert stale.spoiled > 0


@pytest.mark.parametrize("images", [2, SHARDED])
def test_ingest_of_files_that_are_all_gone_fails_with_the_reason(bench: Bench, images: int) -> None:
    made = make_images(bench.source, images)
    run = bench.staged()
    for image in made:
        image.unlink()
    with pytest.raises(RunFailed, match=rf"none of the {images} files could be ingested.*cannot be read any more"):
        ingest(run, images)


def test_launch_that_loses_a_race_to_another_job_says_so(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 2)
    run = bench.staged()
    ingest(run, 2)
    body = job_body(run.remote_id, specification={"workflowParameters": {"tolerance": 7}})
    assert server.jobs("POST", f"/{run.remote_id}", json=body).status_code == 200
    late = LateJob(run.platform.staging.transport, run.platform.workspace)
    racing = replace(run, target=replace(run.target, platform=replace(run.platform, processing=late)))
    with pytest.raises(Conflict, match="does something else"):
        launch(racing)
    assert late.looks == 2


def test_wait_for_a_job_that_stands_still_times_out(tmp_path: Path) -> None:
    with (
        thread_server(settings_for(tmp_path / "server"), SmallEngine(hold_after=0)) as held,
        ExitStack() as stack,
    ):
        bench = Bench(held.url, tmp_path, stack)
        make_images(bench.source, 2)
        run = bench.staged()
        ingest(run, 2)
        launch(run)
        clock = count(step=60 * 3600)
        hurried = replace(run, timing=Timing(clock=lambda: float(next(clock)), sleep=lambda _: None))
        with pytest.raises(JobTimedOut, match=r"still running after 168 h"):
            wait(hurried)
