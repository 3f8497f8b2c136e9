"""Runs of the steps from every kind of place, over real servers, to a finished run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from flows import running
from tasks.core.errors import BadInput, RunFailed
from tasks.core.progress import Silent
from tasks.core.records import RunSummary, Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.media.manifest import read_manifest
from tasks.roboflow_api.models import IngestAnswer
from tasks.roboflow_api.platform import EMBEDDED
from tasks.roboflow_api.staging import StagingApi
from tasks.steps.conclude import bring_home
from tasks.steps.context import Run
from tasks.steps.ingest import ingest
from tasks.steps.referencing import Referral
from tasks.steps.stage import load_staged, open_target, stage
from tests.deployments.batch_server.running import KEY, ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.images import make_images
from tests.tasks.steps.conftest import Bench, run_all

LOOPBACK = "127.0.0.1"
HOSTILE = ["day 1/a b.png", "day 1/100%25.png", "day 1/a+b#c?d&e=f.png", "day 1/näïve 日本.png", "day 1/~'(x)!.png"]


@pytest.fixture(scope="module")
def fetching_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fetching")


@pytest.fixture(scope="module")
def fetching_server(fetching_data: Path) -> Iterator[ServerClient]:
    """A server that may fetch from this machine."""
    settings = settings_for(fetching_data, chunk_limit=16, allow_hosts=(LOOPBACK,))
    with thread_server(settings, SmallEngine()) as client:
        yield client


@pytest.fixture
def fetching(fetching_server: ServerClient, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(fetching_server.url, tmp_path, stack)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [path.read_bytes() for path in make_images(tmp_path_factory.mktemp("photos"), 48)]


def fill(place, photos: list[bytes]) -> dict[str, bytes]:
    """Puts the photographs there: namesakes in two folders, hostile names, and what is no image."""
    names = [f"day {number % 2 + 1}/{number // 2:03}.png" for number in range(len(photos) - len(HOSTILE))] + HOSTILE
    there = dict(zip(names, photos, strict=True))
    for key, content in there.items():
        place.put(key, content)
    place.put("day 1/notes.txt", b"left alone")
    return there


def by_reference(place) -> dict[str, str]:
    """What a request says for the clouds, which on this machine have no public address."""
    return {"transfer": "reference"} if place.kind in ("s3", "gcs", "azure") else {}


def hashes(run: Run) -> dict[str, str]:
    """What the engine has read, by the key of the source."""
    table = pq.read_table(run.folder.results, columns=["source_key", "sha256"])
    return dict(zip(table["source_key"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def failed(run: Run) -> dict[str, str]:
    """Reasons of the files that ingest lost, by their keys."""
    table = pq.read_table(run.folder.ingest, filters=[("state", "=", "failed")])
    return dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))


def shown(folder: Path) -> bytes:
    """Everything that lies below a folder, one after the other."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_run_from_anywhere_processes_every_byte(place, photos: list[bytes], fetching: Bench) -> None:
    there = fill(place, photos)
    run = fetching.staged(source=place.url, **by_reference(place))
    summary = run_all(run)
    assert (summary.processed, summary.failed, summary.rejected) == (len(photos), 0, 0)
    assert hashes(run) == {key: hashlib.sha256(content).hexdigest() for key, content in there.items()}
    record = run.journal.confirmed("ingest", "record")
    assert record is not None
    assert record["record"]["by_reference"] is (place.kind in ("s3", "gcs", "azure"))


def test_pattern_selects_what_is_run(place, photos: list[bytes], fetching: Bench) -> None:
    fill(place, photos)
    run = fetching.staged(source=f"{place.url}/day */00[0-4].png", **by_reference(place))
    assert run_all(run).processed == 10


def test_cloud_is_uploaded_where_the_platform_cannot_reach_it(cloud, photos: list[bytes], fetching: Bench) -> None:
    for number, photo in enumerate(photos):
        cloud.put(f"{number:03}.png", photo)
    run = fetching.staged(source=cloud.url)
    assert "no public https address" in run.target.transfer_note
    assert run_all(run).processed == len(photos)
    assert run.journal.confirmed("ingest", "shard-000000")


def test_object_that_was_deleted_or_changed_fails_alone(cloud, photos: list[bytes], fetching: Bench) -> None:
    for number in range(4):
        cloud.put(f"{number}.png", photos[number])
    run = fetching.staged(source=cloud.url, **by_reference(cloud))
    cloud.delete("1.png")
    cloud.put("2.png", photos[9])
    summary = run_all(run)
    assert (summary.processed, summary.failed) == (2, 2)
    assert hashes(run).keys() == {"0.png", "3.png"}
    assert failed(run).keys() == {"1.png", "2.png"}
    assert all(failed(run).values())


def test_signed_urls_are_kept_nowhere(
    cloud, photos: list[bytes], fetching: Bench, fetching_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[str] = []
    send = StagingApi.ingest_references

    def watched(api: StagingApi, batch: str, references: list[tuple[str, str]], *rest: str) -> IngestAnswer:
        signed.extend(url for _name, url in references)
        return send(api, batch, references, *rest)

    monkeypatch.setattr(StagingApi, "ingest_references", watched)
    fill(cloud, photos)
    run_all(fetching.staged(source=cloud.url, **by_reference(cloud)))
    queries = {url.partition("?")[2].encode() for url in signed}
    signatures = {query.rpartition(b"=")[2] for query in queries}
    assert len(signatures) == len(photos)
    left = shown(fetching.runs) + shown(fetching_data)
    assert [signature for signature in signatures if signature in left] == []


class Forgetful(StagingApi):
    """Loses the answer to every request for references, after the platform has got it."""

    def ingest_references(
        self,
        batch_id: str,
        references: Iterable[tuple[str, str]],
        ingest_id: str,
        display_name: str,
        notifications_url: str = "",
    ) -> IngestAnswer:
        super().ingest_references(batch_id, references, ingest_id, display_name)
        raise KeyboardInterrupt


def test_chunk_whose_answer_was_lost_is_recognised(s3, photos: list[bytes], fetching: Bench) -> None:
    for number, photo in enumerate(photos):
        s3.put(f"{number:03}.png", photo)
    run = fetching.staged(source=s3.url, transfer="reference")
    staging = run.platform.staging
    forgetful = Forgetful(staging.transport, run.platform.workspace)
    lossy = replace(run, target=replace(run.target, platform=replace(run.platform, staging=forgetful)))
    with pytest.raises(KeyboardInterrupt):
        ingest(lossy, len(photos))
    assert run.journal.uncertain("ingest") == ["chunk-000000"]
    again = ingest(run, len(photos))
    assert (again.sent, again.failed, again.parts) == (len(photos), 0, 1)
    chunk = run.journal.confirmed("ingest", "chunk-000000")
    assert chunk is not None
    assert chunk["duplicated"] is True


def test_chunks_bear_ids_of_their_own_and_go_once(
    s3, photos: list[bytes], fetching: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, photo in enumerate(photos):
        s3.put(f"{number:03}.png", photo)
    run = fetching.staged(source=s3.url, transfer="reference")
    Referral(run, most=20).send()
    monkeypatch.setattr(StagingApi, "ingest_references", None)  # nothing is sent a second time
    again = ingest(run, len(photos))
    assert (again.sent, again.parts) == (len(photos), 3)


def test_credentials_that_end_sooner_are_told_with_the_numbers(
    s3, photos: list[bytes], fetching: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("a.png", photos[0])
    run = fetching.staged(source=s3.url, transfer="reference")
    monkeypatch.setattr(type(run.target.source), "longest_lifetime", lambda _source: 5400.0)
    told: list[str] = []
    ingest(replace(run, tell=told.append), 1)
    assert [("24 h" in line, "1.5 h" in line) for line in told] == [(True, True)]


def test_server_that_may_not_fetch_refuses_the_whole_ingest(s3, photos: list[bytes], bench: Bench) -> None:
    for number in range(3):
        s3.put(f"{number}.png", photos[number])
    run = bench.staged(source=s3.url, transfer="reference")
    with pytest.raises(RunFailed, match=r"none of the 3 files could be ingested.*127\.0\.0\.1") as refused:
        ingest(run, 3)
    assert "X-Amz" not in str(refused.value)


def test_ingest_of_which_nothing_arrived_is_sent_anew_when_its_cause_is_mended(
    s3, photos: list[bytes], fetching: Bench
) -> None:
    for number in range(3):
        s3.put(f"{number}.png", photos[number])
    run = fetching.staged(source=s3.url, transfer="reference")
    for number in range(3):
        s3.delete(f"{number}.png")
    with pytest.raises(RunFailed, match="run the same command again"):
        ingest(run, 3)
    for number in range(3):
        s3.put(f"{number}.png", photos[number])
    again = fetching.staged(source=s3.url, transfer="reference")
    assert again.folder.key == run.folder.key
    assert run_all(again).processed == 3


def test_own_output_in_the_source_is_no_part_of_it(cloud, photos: list[bytes], fetching: Bench) -> None:
    cloud.put("a.png", photos[0])
    for key in ("runs/k/export/b.png", "results/k/c.png", "runs of mine/d.png"):
        cloud.put(key, photos[1])
    places = {"runs": f"{cloud.url}/runs/", "destination": f"{cloud.url}/results"}
    run = fetching.staged(source=cloud.url, **places, **by_reference(cloud))
    assert [row.key for row in read_manifest(run.folder.manifest)] == ["a.png", "runs of mine/d.png"]
    with pytest.raises(BadInput, match="is where the results go"):
        fetching.staged(source=f"{cloud.url}/results", **places)


@pytest.fixture
def references(s3, photos: list[bytes], tmp_path: Path) -> Path:
    """A file of references to objects whose names tell nothing."""
    lines = []
    for number in range(40):
        s3.put(f"{number}.bin", photos[number])
        lines.append(json.dumps({"name": f"day {number % 2}/photo {number}", "url": s3.sign(f"{number}.bin")}) + "\n")
    (tmp_path / "references.jsonl").write_text("".join(lines))
    return tmp_path / "references.jsonl"


def test_run_from_references(references: Path, photos: list[bytes], fetching: Bench) -> None:
    run = fetching.staged(source=str(references))
    assert run_all(run).processed == 40
    assert hashes(run)["day 1/photo 7"] == hashlib.sha256(photos[7]).hexdigest()
    secret = json.loads(references.read_text().splitlines()[0])["url"].rpartition("=")[2].encode()
    assert secret not in shown(fetching.runs)


def test_references_that_were_signed_anew_are_the_same_run(s3, references: Path, fetching: Bench) -> None:
    first = fetching.staged(source=str(references)).folder.key
    lines = [json.loads(line) for line in references.read_text().splitlines()]
    anew = [line | {"url": line["url"].partition("?")[0] + "?X-Amz-Signature=other"} for line in lines]
    references.write_text("".join(json.dumps(line) + "\n" for line in anew))
    assert fetching.staged(source=str(references)).folder.key == first


def test_manifest_of_a_bucket_holds_what_the_listing_gives(cloud, photos: list[bytes], fetching: Bench) -> None:
    cloud.put("a.png", photos[0])
    cloud.put("empty.png", b"")
    run = fetching.staged(source=cloud.url, **by_reference(cloud))
    whole, empty = read_manifest(run.folder.manifest)
    assert (whole.size, whole.width, whole.state) == (len(photos[0]), None, "staged")
    assert whole.etag
    assert whole.modified
    assert (empty.state, empty.reason) == ("rejected", "the file is empty")
    assert load_staged(run.folder).to_send == 1


def test_bucket_that_is_not_there_is_told_before_anything_is_made(cloud, fetching: Bench) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        fetching.staged(source=cloud.wrong_url)
    assert not fetching.runs.exists()


def test_bucket_without_images_is_bad_input(cloud, fetching: Bench) -> None:
    cloud.put("a.txt", b"no image")
    with pytest.raises(BadInput, match="no images in"):
        fetching.staged(source=cloud.url)


def test_hosts_that_the_embedded_server_may_fetch_from_say_nothing_of_another_platform(
    s3, photos: list[bytes], fetching: Bench
) -> None:
    s3.put("a.png", photos[0])
    allowed = Settings.model_validate({"ROBOFLOW_API_KEY": SecretStr(KEY), "DARKROOM_ALLOW_HOSTS": LOOPBACK})
    request = RunRequest(source=s3.url, workflow="minimal", platform=fetching.url, runs=str(fetching.runs))
    with open_target(request, allowed) as target:
        assert target.transfer == "upload"


def test_source_that_may_be_signed_is_not_taken_as_it_is(fetching: Bench) -> None:
    with pytest.raises(BadInput, match="env:NAME") as refused:
        fetching.target(source="https://host/references.jsonl?X-Amz-Signature=SECRET")
    assert "SECRET" not in str(refused.value)


def test_run_on_the_embedded_server_of_another_machine_is_told_and_left_alone(
    s3, photos: list[bytes], fetching: Bench
) -> None:
    s3.put("photos/a.png", photos[0])
    here = fetching.target(source=f"{s3.url}/photos", runs=f"{s3.url}/runs", transfer="reference")
    here = replace(here, platform=replace(here.platform, name=EMBEDDED))
    began = stage(here, Silent(), fetching.timing)
    assert isinstance(began, Staged)
    bring_home(fetching.opened(here, RunFolder(began.folder)))
    there = s3.stored()
    assert f"runs/{began.key}/journal.jsonl" in there
    elsewhere = replace(here, runs=replace(here.runs, folder=fetching.runs))
    with pytest.raises(BadInput, match="embedded server of another machine"):
        stage(elsewhere, Silent(), fetching.timing)
    assert s3.stored() == there
    assert isinstance(stage(here, Silent(), fetching.timing), Staged)


def test_failed_run_is_brought_to_its_bucket_as_well(
    s3, photos: list[bytes], fetching: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("photos/a.png", photos[0])
    run = fetching.staged(source=f"{s3.url}/photos", runs=f"{s3.url}/runs", transfer="reference")

    def fails(run: Run, _files: int) -> RunSummary:
        run.folder.report.write_text("what went wrong")
        raise RunFailed("it did not go well")

    monkeypatch.setattr(running, "process", fails)
    with pytest.raises(RunFailed):
        running.process_kept(run, load_staged(run.folder).to_send)
    assert s3.get(f"runs/{run.folder.key}/report.html") == b"what went wrong"
