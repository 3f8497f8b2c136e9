"""What comes after the results, through the command line with real servers and the real engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.commands import ENGINE_PYTHON, ROOT, Outcome, darkroom
from tests.home import Home
from tests.waiting import PATIENTLY, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

PHOTOGRAPHS = 12
CODES = 4


@dataclass(frozen=True)
class Desk:
    """A folder with sample photographs and the first run on them."""

    folder: Path
    home: Home
    first: Outcome

    def run(self, *words: str, source: str = "photos") -> Outcome:
        return darkroom("run", source, "--workflow", "photo-audit", *words, cwd=self.folder, **self.home.environment)

    def do(self, *words: str) -> Outcome:
        return darkroom(*words, cwd=self.folder, **self.home.environment)

    @property
    def key(self) -> str:
        return self.first.last_line[1]

    def place(self, key: str) -> Path:
        return self.folder / "runs" / key


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, home: Home) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    make = [ENGINE_PYTHON, ROOT / "deployments" / "samples.py", folder / "photos"]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    bare = Desk(folder, home, Outcome(0, "", ""))
    return replace(bare, first=bare.run("--format", "coco", "--images", "link", "--expect", "max_failures=0"))


def test_run_writes_the_datasets_and_meets_what_was_expected(desk: Desk) -> None:
    assert desk.first.status == 0, desk.first.errors
    annotations = json.loads((desk.place(desk.key) / "datasets/coco/annotations/instances_train.json").read_text())
    assert (len(annotations["images"]), len(annotations["annotations"])) == (PHOTOGRAPHS, CODES)
    assert f"datasets  runs/{desk.key}/datasets/coco" in desk.first.output
    shown = desk.home.artifacts(desk.key)
    assert {"expectations", "datasets", "dataset-coco-file", "report-file"} <= shown.keys()


def test_format_is_added_to_a_finished_run_without_new_work(desk: Desk) -> None:
    summary = desk.place(desk.key) / "summary.parquet"
    before = summary.read_bytes()
    added = desk.run("--format", "yolo", "--zip", "--format", "csv")
    assert added.status == 0, added.errors
    assert added.last_line[1] == desk.key
    assert (desk.place(desk.key) / "datasets" / "yolo.zip").is_file()
    assert summary.read_bytes() == before


def test_missed_expectation_fails_the_command_and_publishes_nothing(desk: Desk) -> None:
    words = ("--rerun", "gate", "--destination", "published")
    missed = desk.run(*words, "--expect", "required_classes=barcode,cat")
    assert (missed.status, missed.output) == (1, "")
    last = missed.errors.splitlines()[-1]
    assert "misses expectations: " in last
    assert "cat" in last
    assert "Traceback" not in missed.errors
    assert not (desk.folder / "published").exists()
    met = desk.run(*words, "--expect", "required_classes=barcode")
    assert met.status == 0, met.errors
    assert (desk.folder / "published" / met.last_line[1] / "summary.parquet").is_file()
    again = desk.run(*words, "--expect", "forbidden_classes=barcode")
    assert (again.status, again.output) == (1, "")
    assert "barcode" in again.errors.splitlines()[-1]


def test_drift_is_a_table_a_warning_an_event_and_an_exit_status(desk: Desk) -> None:
    for path in (desk.folder / "photos" / "animals").iterdir():
        other = desk.folder / "blank" / path.name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())
    run = desk.run("--compare", desk.key, source="blank")
    assert run.status == 0, run.errors
    assert f"beyond the limit against run {desk.key}: class mix" in run.errors
    drifted = "SELECT resource_id FROM events WHERE event = 'darkroom.run.drifted'"
    wait_for(lambda: run.last_line[1] in str(desk.home.prefect.asked(drifted)), "the event", pause=PATIENTLY)
    assert "comparison" in desk.home.artifacts(run.last_line[1])
    assert desk.key in Path(desk.folder / run.last_line[5]).read_text()
    compared = desk.do("compare", desk.key[:8], run.last_line[1], "--json")
    assert compared.status == 3
    told = json.loads(compared.output)
    assert (told["key"], told["other"], told["drifted"]) == (run.last_line[1], desk.key, True)
    same = desk.do("compare", desk.key, desk.key)
    assert same.status == 0
    assert same.output.splitlines()[-1] == f"run {desk.key} against {desk.key}: nothing beyond its limit"


def test_lineage_leads_from_the_source_over_the_batch_to_what_is_published(desk: Desk) -> None:
    published = desk.run("--destination", str(desk.folder / "published"))
    assert published.status == 0, published.errors
    batch, results = f"/local/batches/dr-{desk.key}", f"file://{desk.place(desk.key)}"
    wanted = [("photos", batch), (batch, results), (results, f"file://{desk.folder}/published/{desk.key}")]

    def links() -> set[tuple[str, str]]:
        made = """SELECT related.resource_id, event.resource_id FROM event_resources AS related
            JOIN events AS event ON event.id = related.event_id
            WHERE event.event = 'prefect.asset.materialization.succeeded' AND related.resource_role = 'asset'"""
        return {(str(source), str(asset)) for source, asset in desk.home.prefect.asked(made)}

    def whole() -> bool:
        return all(any(found[0].endswith(a) and found[1].endswith(b) for found in links()) for a, b in wanted)

    wait_for(whole, f"the lineage {wanted}", pause=PATIENTLY)


def test_replay_gives_the_same_rows_and_tells_when_it_does_not(desk: Desk) -> None:
    same = desk.do("replay", desk.key[:8])
    assert same.status == 0, same.errors
    assert "the results are the same, row by row (12 files)" in same.output.splitlines()[-1]
    results = desk.place(desk.key) / "results.parquet"
    kept = results.read_bytes()
    table = pq.read_table(results)
    focus = table.column_names.index("focus")
    changed = table["focus"].to_pylist()
    changed[3] += 0.5
    pq.write_table(table.set_column(focus, table.schema.field(focus), [changed]), results)
    try:
        other = desk.do("replay", desk.key[:8])
    finally:
        results.write_bytes(kept)
    assert (other.status, other.output) == (1, "")
    assert "1 of 12 files are different" in other.errors.splitlines()[-1]
    assert "focus" in other.errors


def test_replay_of_changed_files_is_refused(desk: Desk) -> None:
    (path,) = (desk.folder / "photos" / "animals").iterdir()
    kept = path.stat()
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    try:
        refused = desk.do("replay", desk.key)
    finally:
        path.write_bytes(content)

        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert (refused.status, refused.output) == (2, "")
    assert f"run {desk.key} cannot be replayed: of its 12 files" in refused.errors.splitlines()[-1]


def test_pilot_ends_with_an_estimate_and_goes_on_with_a_budget(desk: Desk) -> None:
    words = ("--rerun", "pilot", "--pilot", "3")
    tried = desk.run(*words)
    assert tried.status == 0, tried.errors
    said = rf"pilot (\w{{16}}) of run (\w{{16}}): 3 of {PHOTOGRAPHS} files, 0 failed; all take .+ of machine time: .+"
    last = re.fullmatch(said, tried.output.splitlines()[-1])
    assert last, tried.output
    assert "go on with  darkroom run photos --workflow photo-audit" in tried.output
    assert pq.read_table(desk.place(last[1]) / "results.parquet").num_rows == 3
    assert not (desk.place(last[2]) / "summary.parquet").exists()
    assert desk.home.artifacts(last[1])["pilot"] == "table"
    whole = desk.run(*words, "--budget", "max_hours=1", "--budget", "max_failure_rate=0")
    assert whole.last_line.group(1, 2) == (last[2], str(PHOTOGRAPHS))
    assert "within the budget" in whole.errors
    assert "ingest: 3 sent" not in whole.errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "photos", "--workflow", "minimal", "--format", "tfrecord"], "unknown dataset format 'tfrecord'"),
        (["run", "photos", "--workflow", "minimal", "--compare", "0000"], "no run in runs with a key that begins"),
        (["run", "photos", "--workflow", "minimal", "--stage", "thinking"], "thinking"),
        (["compare", "0000", "1111"], "no run in runs with a key that begins with '0000'"),
        (["replay", "0000"], "no run in runs with a key that begins with '0000'"),
    ],
)
def test_wish_that_cannot_be_gets_one_clear_line(desk: Desk, words: list[str], said: str) -> None:
    outcome = desk.do(*words)
    assert (outcome.status, outcome.output) == (2, "")
    assert said in outcome.errors.splitlines()[-1]
    assert "Traceback" not in outcome.errors
