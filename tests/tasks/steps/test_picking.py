"""Runs of images that the platform picks from its own library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI, Request

from deployments.batch_server.app import create_app
from tasks.core.errors import BadInput, RequestRefused
from tasks.media.manifest import read_manifest
from tasks.steps.context import Run
from tasks.steps.ingest import ingest
from tests.deployments.batch_server.running import ServerClient, served, settings_for
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_images
from tests.tasks.steps.conftest import Bench, run_all

PATH = "/data-staging/v1/external/local/batches/{batch}/roboql-ingest"


@dataclass
class Library:
    """A platform that has images of its own: all of them answer to ``class:cat``, and none to anything else."""

    client: ServerClient
    asked: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    photos = make_images(tmp_path_factory.mktemp("library"), 12)
    app = create_app(settings_for(tmp_path_factory.mktemp("server")), SmallEngine())
    asked: Counter[str] = Counter()
    add_library(app, photos, asked)
    with served(app) as client:
        yield Library(client, asked)


def add_library(app: FastAPI, photos: list[Path], asked: Counter[str]) -> None:
    """Has the server answer queries, which ours has no library for."""
    services = app.state.services

    @app.post(PATH)
    async def pick(batch: str, request: Request) -> dict[str, str]:
        body = await request.json()
        asked[body["ingestId"]] += 1
        for photo in photos if body["query"] == "class:cat" else photos[:0]:
            blob = services.blobs.write(".img", photo.read_bytes())
            services.uploads.put_image(batch, photo.name, blob, None)
        return {"ingestId": body["ingestId"]}

    app.router.routes.insert(0, app.router.routes.pop())


@pytest.fixture
def picking(library: Library, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(library.client.url, tmp_path, stack)


def brisk(run: Run) -> Run:
    """The run on a platform that settles in an instant, so that nobody waits for it to be still."""
    return replace(run, target=replace(run.target, platform=replace(run.platform, settle=0.02)))


def test_run_of_a_query_accounts_for_what_was_picked(picking: Bench, library: Library) -> None:
    run = brisk(picking.staged(source="roboql:class:cat"))
    summary = run_all(run)
    assert (summary.files, summary.processed, summary.failed) == (12, 12, 0)
    assert summary.source == "roboql:class:cat"
    picked = [row.name for row in read_manifest(run.folder.manifest)]
    assert sorted(pq.read_table(run.folder.results)["source_key"].to_pylist()) == sorted(picked)
    assert library.asked[run.remote_id] == 1


def test_query_is_handed_in_once(picking: Bench, library: Library) -> None:
    run = brisk(picking.staged(source="roboql: class:cat", rerun="twice"))
    first = ingest(run, 0)
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    run.folder.journal.write_text("".join(line for line in lines if '"record"' not in line))
    again = ingest(picking.opened(run.target, run.folder), 0)
    assert (again.sent, again.failed) == (first.sent, first.failed) == (12, 0)
    assert library.asked[run.remote_id] == 1


def test_same_query_is_the_same_run_and_another_is_not(picking: Bench) -> None:
    keys = [picking.staged(source=f"roboql:{query}").folder.key for query in ("class:cat", " class:cat", "class:dog")]
    assert keys[0] == keys[1] != keys[2]


def test_query_that_picks_nothing_is_bad_input(picking: Bench) -> None:
    run = brisk(picking.staged(source="roboql:class:unicorn"))
    with pytest.raises(BadInput, match="picked no image"):
        ingest(run, 0)


def test_query_to_a_server_without_a_library_says_so(bench: Bench) -> None:
    run = bench.staged(source="roboql:class:cat")
    with pytest.raises(RequestRefused, match="library"):
        ingest(run, 0)


def test_query_cannot_tell_what_is_new(picking: Bench) -> None:
    with pytest.raises(BadInput, match="--only-new"):
        picking.target(source="roboql:class:cat", only_new=True)
