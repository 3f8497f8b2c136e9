"""The command line on every kind of place, with the embedded server and the real engine."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.commands import Outcome, darkroom
from tests.emulators.fixtures import *  # noqa: F403
from tests.home import Home
from tests.images import make_images

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

IMAGES = 5


@dataclass(frozen=True)
class Desk:
    """A folder in which commands are given."""

    folder: Path
    home: Home
    photos: list[bytes]

    def fill(self, place: Any, folder: str = "photos") -> None:
        for number, photo in enumerate(self.photos):
            place.put(f"{folder}/{number}.png", photo)

    def run(self, place: Any, *arguments: str, source: str = "photos") -> Outcome:
        words = ("run", f"{place.url}/{source}", "--workflow", "minimal", *arguments)
        return self.do(place, *words)

    def do(self, place: Any, *words: str) -> Outcome:
        return darkroom(*words, cwd=self.folder, **place.environment, **self.home.environment)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, home: Home) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    return Desk(folder, home, [path.read_bytes() for path in make_images(folder / "originals", IMAGES)])


def folder_of(desk: Desk, outcome: Outcome) -> Path:
    assert outcome.status == 0, outcome.errors
    return desk.folder / "runs" / outcome.last_line[1]


def test_command_runs_from_anywhere(place, desk: Desk) -> None:
    desk.fill(place)
    outcome = desk.run(place)
    table = pq.read_table(folder_of(desk, outcome) / "results.parquet")
    assert sorted(table["source_key"].to_pylist()) == [f"{number}.png" for number in range(IMAGES)]
    fetched = place.kind in ("s3", "gcs", "azure")
    assert ("5 sent by reference" in outcome.errors) is fetched


def test_only_new_takes_what_is_new_and_then_nothing(s3, desk: Desk) -> None:
    desk.fill(s3)
    assert desk.run(s3, "--only-new").last_line[2] == str(IMAGES)
    s3.put("photos/later.png", desk.photos[0])
    second = desk.run(s3, "--only-new")
    table = pq.read_table(folder_of(desk, second) / "results.parquet")
    assert table["source_key"].to_pylist() == ["later.png"]
    third = desk.run(s3, "--only-new")
    assert (third.status, third.output) == (0, f"nothing new in {s3.url}/photos: its 6 files were processed before\n")


def test_runs_and_results_may_lie_in_a_bucket(cloud, desk: Desk) -> None:
    desk.fill(cloud)
    places = ("--runs", f"{cloud.url}/runs", "--destination", f"{cloud.url}/results")
    outcome = desk.run(cloud, *places)
    assert outcome.status == 0, outcome.errors
    key = outcome.last_line[1]
    assert outcome.last_line[5] == f"{cloud.url}/runs/{key}/report.html"
    there = cloud.stored()
    for name in ("run.json", "manifest.parquet", "journal.jsonl", "results.parquet", "report.html", "summary.parquet"):
        assert f"runs/{key}/{name}" in there
    for name in ("results.parquet", "report.html", "summary.parquet"):
        assert f"results/{key}/{name}" in there
    listed = desk.do(cloud, "runs", "--runs", f"{cloud.url}/runs")
    assert [key in line and "done" in line for line in listed.output.splitlines()] == [False, True]
    shown = desk.do(cloud, "show", key[:6], "--runs", f"{cloud.url}/runs")
    assert shown.last_line.group(0) == outcome.last_line.group(0)


def test_stage_prints_what_is_there_and_writes_signed_references(cloud, desk: Desk) -> None:
    desk.fill(cloud)
    cloud.put("photos/empty.jpg", b"")
    cloud.put("photos/notes.txt", b"left alone")
    file = desk.folder / f"{cloud.kind}.jsonl"
    words = ("stage", f"{cloud.url}/photos", "--references", file.name)
    outcome = desk.do(cloud, *words)
    assert outcome.status == 0, outcome.errors
    for said in ("5 to process", "the file is empty", "1x", file.name):
        assert said in outcome.output
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [httpx.get(line["url"], trust_env=False).content for line in lines] == desk.photos
    assert [line["name"] for line in lines] == [f"{number}.png" for number in range(IMAGES)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert lines[0]["url"].rpartition("=")[2] not in outcome.output + outcome.errors


@pytest.mark.parametrize(
    ("source", "says"),
    [("photos/*.tiff", "matches no image"), ("elsewhere", "no images in"), ("photos/[a", "not closed")],
)
def test_source_without_images_is_bad_input(s3, desk: Desk, source: str, says: str) -> None:
    desk.fill(s3)
    outcome = desk.run(s3, source=source)
    assert outcome.status == 2
    assert says in outcome.errors
    assert len(outcome.errors.strip().splitlines()[-1]) < 400


def test_signed_url_of_references_is_written_down_nowhere(s3, desk: Desk) -> None:
    desk.fill(s3)
    lines = [{"name": f"{number}.png", "url": s3.sign(f"photos/{number}.png")} for number in range(IMAGES)]
    s3.put("references.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    signed = s3.sign("references.jsonl")
    outcome = desk.do(s3, "run", signed, "--workflow", "minimal")
    assert folder_of(desk, outcome).is_dir()
    assert outcome.last_line[2] == str(IMAGES)
    signatures = [url.rpartition("=")[2].encode() for url in (signed, *(line["url"] for line in lines))]
    places = (desk.folder, desk.home.folder, desk.home.prefect.home)
    kept = b"".join(path.read_bytes() for place in places for path in place.rglob("*") if path.is_file())
    said = (outcome.output + outcome.errors).encode()
    assert [signature for signature in signatures if signature in kept + said] == []
