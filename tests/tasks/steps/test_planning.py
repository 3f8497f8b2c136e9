"""What a plan says is held against what the run then really does on a server that counts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.batch_server.app import create_app
from tasks.core.errors import BadInput, WorkflowUnknown
from tasks.core.progress import Silent
from tasks.core.records import NothingNew
from tasks.core.request import RunRequest
from tasks.core.settings import Settings
from tasks.steps.conclude import remember
from tasks.steps.context import Run
from tasks.steps.ingest import ingest
from tasks.steps.launch import launch
from tasks.steps.planning import Planned, open_planned, plan
from tasks.steps.uploads import SIMPLE_UPLOAD_MOST, Upload
from tests.deployments.batch_server.media_host import Answer, media_host
from tests.deployments.batch_server.running import KEY, ServerClient, served, settings_for
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_image, make_images
from tests.tasks.steps.conftest import Bench, run_all

SHARDED = SIMPLE_UPLOAD_MOST + 1


class Counting:
    """An application that remembers which requests came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.seen.append((scope["method"], scope["path"]))
        await self._app(scope, receive, send)

    def writes(self) -> list[str]:
        """The paths that something was sent to; definitions of workflows are not counted as part of a run."""
        return [path for method, path in self.seen if method not in ("GET", "HEAD") and "/workflows/" not in path]


class House:
    """A server that counts, and a place to start runs on it."""

    def __init__(self, client: ServerClient, counting: Counting, bench: Bench, folder: Path) -> None:
        self.client = client
        self.counting = counting
        self.bench = bench
        self.folder = folder

    def request(self, **changes: Any) -> RunRequest:
        fields = {"source": str(self.bench.source), "workflow": "minimal", "platform": self.client.url}
        return RunRequest.model_validate(fields | {"runs": str(self.bench.runs)} | changes)

    def outcome(self, **changes: Any) -> Planned | NothingNew:
        """What is planned; nothing is sent meanwhile, and nothing is written."""
        before, asked = self.files(), len(self.counting.seen)
        settings = Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY), "DARKROOM_HOME": self.folder / "home"})
        with open_planned(self.request(**changes), settings) as target:
            planned = plan(target, Silent())
        assert {method for method, _path in self.counting.seen[asked:]} == {"GET"}
        assert self.files() == before
        return planned

    def planned(self, **changes: Any) -> Planned:
        planned = self.outcome(**changes)
        assert isinstance(planned, Planned)
        return planned

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*"))

    def sent_by(self, work: Callable[[], object]) -> list[str]:
        """What is sent while something is done."""
        before = len(self.counting.writes())
        work()
        return self.counting.writes()[before:]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerClient, Counting]]:
    settings = settings_for(tmp_path_factory.mktemp("server"), chunk_limit=16, allow_hosts=("127.0.0.1",))
    counting = Counting(create_app(settings, SmallEngine()))
    with served(counting) as client:
        yield client, counting


@pytest.fixture
def house(counted: tuple[ServerClient, Counting], tmp_path: Path) -> Iterator[House]:
    client, counting = counted
    with ExitStack() as stack:
        yield House(client, counting, Bench(client.url, tmp_path, stack), tmp_path)


def begun(run: Run, files: int) -> None:
    ingest(run, files)
    launch(run)


@pytest.mark.parametrize(
    ("images", "sending", "parts", "requests"),
    [
        (1, "one by one", 1, 2),
        (SIMPLE_UPLOAD_MOST, "one by one", SIMPLE_UPLOAD_MOST, SIMPLE_UPLOAD_MOST + 1),
        (SHARDED, "shards", 1, 4),
        (300, "shards", 2, 6),
    ],
)
def test_run_does_what_was_planned(house: House, images: int, sending: str, parts: int, requests: int) -> None:
    make_images(house.bench.source, images)
    (house.bench.source / "text.jpg").write_text("no picture")
    (house.bench.source / "notes.txt").touch()
    planned = house.planned()
    assert (planned.state, planned.files, planned.rejected, planned.ignored) == ("new", images + 1, 1, 1)
    assert planned.reasons == {"not an image: no known image format begins so": 1}
    assert (planned.sending, planned.parts, planned.requests) == (sending, parts, requests)
    run = house.bench.staged()
    assert (planned.key, planned.job_id) == (run.folder.key, run.remote_id)
    sent = house.sent_by(lambda: begun(run, images))
    assert len(sent) == requests
    if sending == "shards":
        assert len(house.client.shards(run.remote_id)) == parts
    assert house.client.count(run.remote_id) == images == planned.to_send
    house.client.finished(run.remote_id)


def test_large_files_make_more_shards_as_planned(house: House) -> None:
    for file in make_images(house.bench.source, SHARDED):
        os.truncate(file, 2_200_000)
    planned = house.planned()
    assert (planned.parts, planned.requests, planned.bytes) == (2, 6, SHARDED * 2_200_000)
    run = house.bench.staged()
    assert len(house.sent_by(lambda: ingest(run, SHARDED))) == planned.requests - 1
    assert len(house.client.shards(run.remote_id)) == planned.parts


def test_references_go_in_the_planned_chunks(house: House, tmp_path: Path) -> None:
    make_images(tmp_path / "hosted", 3)
    with media_host() as media:
        for image in (tmp_path / "hosted").iterdir():
            media.answers[f"/{image.name}"] = Answer(body=image.read_bytes())
        file = tmp_path / "references.jsonl"
        lines = [json.dumps({"name": path[1:], "url": media.url(path)}) for path in media.answers]
        file.write_text("\n".join(lines))
        planned = house.planned(source=str(file))
        assert (planned.sending, planned.parts, planned.requests, planned.bytes) == ("references", 1, 2, 0)
        assert media.asked == []
        run = house.bench.staged(source=str(file))
        assert len(house.sent_by(lambda: begun(run, 3))) == planned.requests
        house.client.finished(run.remote_id)


def test_more_references_than_fit_into_one_request_are_planned_as_several(house: House, tmp_path: Path) -> None:
    file = tmp_path / "references.jsonl"
    file.write_text("".join(f'{{"name": "{n}.jpg", "url": "https://host.example/{n}.jpg"}}\n' for n in range(20_001)))
    planned = house.planned(source=str(file))
    assert (planned.files, planned.sending, planned.parts, planned.requests) == (20_001, "references", 2, 3)


def test_query_is_one_request_and_its_files_are_not_known(house: House) -> None:
    planned = house.planned(source="roboql:cats")
    assert (planned.sending, planned.files, planned.parts, planned.requests) == ("query", 0, 0, 2)


def test_unfinished_run_is_planned_from_where_it_stands(house: House) -> None:
    make_images(house.bench.source, 600)
    run = house.bench.staged()
    assert (house.planned().state, house.planned().parts) == ("unfinished", 3)
    upload = Upload(run, 600)
    upload._bring_shard(next(upload.parts()))
    begun_shard = house.planned()
    assert (begun_shard.parts, begun_shard.requests) == (2, 5)
    assert len(house.sent_by(lambda: ingest(run, 600))) == 4
    ingested = house.planned()
    assert (ingested.parts, ingested.requests) == (0, 1)
    assert len(house.sent_by(lambda: launch(run))) == 1
    assert house.planned().requests == 0
    house.client.finished(run.remote_id)


def test_finished_run_is_found_and_gives_the_estimate_of_the_next(house: House) -> None:
    make_images(house.bench.source, 4)
    assert house.planned().seconds is None
    summary = run_all(house.bench.staged())
    again = house.planned()
    assert (again.key, again.state, again.requests, again.seconds) == (summary.key, "finished", 0, 0.0)
    assert again.line() == f"run {again.key}: finished before, nothing to do (--rerun LABEL does it afresh)"
    make_images(house.bench.source, 8)
    following = house.planned(rerun="more")
    assert (following.state, following.finished_runs) == ("new", 1)
    assert following.seconds_a_file == pytest.approx(summary.seconds / 4)
    assert following.seconds == pytest.approx(summary.seconds * 2)
    other = house.planned(workflow="photo-audit")
    assert (other.finished_runs, other.seconds) == (0, None)


def test_damage_to_another_run_does_not_stop_a_plan(house: House) -> None:
    make_images(house.bench.source, 2)
    broken = house.bench.runs / ("0" * 16)
    broken.mkdir(parents=True)
    for name in ("run.json", "summary.parquet"):
        (broken / name).write_text("junk")
    assert house.planned().finished_runs == 0


def test_only_new_plans_what_is_new(house: House) -> None:
    make_images(house.bench.source, 3)
    run = house.bench.staged(only_new=True)
    run_all(run)
    remember(run)
    nothing = house.outcome(only_new=True)
    assert isinstance(nothing, NothingNew)
    assert nothing.known == 3
    make_image(house.bench.source / "new.png", 9)
    planned = house.planned(only_new=True)
    assert (planned.files, planned.requests) == (1, 2)
    assert house.planned().files == 4


def test_pilot_is_planned_as_the_run_that_it_is(house: House) -> None:
    make_images(house.bench.source, SHARDED)
    planned = house.planned(pilot={"files": 5})
    assert planned.pilot is not None
    assert (planned.files, planned.parts, planned.pilot.files, planned.pilot.parts) == (SHARDED, 1, 5, 5)
    assert (planned.requests, planned.pilot.requests) == (4, 6)
    assert house.planned(pilot={"files": SHARDED}).pilot is None


def test_workflow_file_is_read_and_not_saved(house: House, tmp_path: Path) -> None:
    make_images(house.bench.source, 1)
    definition = {"version": "1.0", "inputs": [{"type": "WorkflowImage", "name": "image"}], "steps": [], "outputs": []}
    file = tmp_path / "My Own.json"
    file.write_text(json.dumps(definition))
    planned = house.planned(workflow=str(file))
    assert house.client.http.get(f"/local/workflows/{planned.workflow}").status_code == 404
    assert house.bench.staged(workflow=str(file)).folder.key == planned.key
    assert house.client.http.get(f"/local/workflows/{planned.workflow}").status_code == 200


def test_what_cannot_be_run_cannot_be_planned(house: House) -> None:
    with pytest.raises(BadInput, match="no images"):
        house.outcome()
    make_images(house.bench.source, 1)
    with pytest.raises(WorkflowUnknown):
        house.outcome(workflow="nope")
    with pytest.raises(BadInput, match="its parameters"):
        house.outcome(parameters={"zzz": 1})
    with pytest.raises(BadInput, match="leave out --transfer reference"):
        house.outcome(transfer="reference")
    (house.bench.source / "image-00000.png").write_text("no picture")
    with pytest.raises(BadInput, match="none of the 1 files can be processed"):
        house.outcome()
