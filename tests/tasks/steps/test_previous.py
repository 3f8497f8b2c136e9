import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions
from tasks.core.request import RunRequest
from tasks.core.run_folder import LOCK_SCHEMA, RunFolder
from tasks.results.facts import facts_of
from tasks.steps.mirror import Mirror
from tasks.steps.previous import find_previous, open_run
from tasks.steps.runs import Runs
from tasks.transfer.places import LocalPlace, Place
from tests.images import make_images
from tests.tasks.results import finished as tables_on_disk
from tests.tasks.results.run_on_disk import detections
from tests.tasks.steps.conftest import Bench, run_all

ASKED = RunRequest(source="s3://bucket/photos", workflow="audit", runs="runs")
NOON = datetime(2026, 9, 15, 12, tzinfo=UTC)
OWN = "f" * 16
KEYS = [f"{number:016x}" for number in range(1, 9)]


class Fetched(LocalPlace):
    """A place that says what is fetched from it."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        super().__init__(folder)
        self._here = folder
        self._names = names

    def sub(self, name: str) -> Place:
        return Fetched(self._here / name, self._names)

    def get(self, name: str, target: Path) -> bool:
        self._names.append(f"{self._here.name}/{name}")
        return super().get(name, target)


class House:
    """Finished runs in a folder of this machine, or in a bucket."""

    def __init__(self, machine: Path, bucket: Path | None) -> None:
        self.fetched: list[str] = []
        self.place = Fetched(bucket or machine, self.fetched)
        self._all = bucket or machine
        self.runs = Runs(machine, self.place, None if bucket is None else Mirror(self.place))
        machine.mkdir()

    def add(self, key: str, hour: int | None, request: RunRequest = ASKED) -> RunFolder:
        """A finished run that was begun at that hour after noon, or one that is not finished."""
        results = {"a": {"o": detections("car")}, "b": {"o": detections()}}
        at = self._all / key
        if hour is None:
            folder = tables_on_disk.tables(at, results)
        else:
            begun = NOON + timedelta(hours=hour)
            folder = tables_on_disk.finished(at, results, started=begun, finished=NOON + timedelta(days=1))
        lock = {
            "schema": LOCK_SCHEMA,
            "key": key,
            "started": (NOON + timedelta(hours=hour or 0)).isoformat(),
            "request": request.model_dump(mode="json"),
        }
        folder.lock_file.write_text(json.dumps(lock))
        return folder

    def previous(self, request: RunRequest = ASKED, key: str = OWN) -> str | None:
        with find_previous(self.runs, request, key) as found:
            return None if found is None else found.key

    @contextmanager
    def opened(self, key: str, *, whole: bool = False) -> Iterator[RunFolder]:
        with open_run(self.runs, key, "these runs", whole=whole) as folder:
            yield folder


@pytest.fixture(params=["here", "bucket"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return House(tmp_path / "machine", tmp_path / "bucket" if request.param == "bucket" else None)


@pytest.fixture
def away(tmp_path: Path) -> House:
    return House(tmp_path / "machine", tmp_path / "bucket")


def test_previous_run_is_the_finished_one_that_was_begun_last(house: House) -> None:
    for key, hour in zip(KEYS[:3], (1, 3, 2), strict=True):
        house.add(key, hour)
    house.add(KEYS[4], None)
    assert house.previous() == KEYS[1]


def test_first_run_has_no_previous_one(house: House) -> None:
    assert house.previous() is None
    house.add(OWN, 1)
    assert house.previous() is None


def test_previous_run_comes_with_its_tables(house: House) -> None:
    house.add(KEYS[0], 1)
    with find_previous(house.runs, ASKED, OWN) as found:
        assert found is not None
        facts = facts_of(found)
        assert pq.read_metadata(found.failures).num_rows == 0
    assert (facts.key, facts.processed, facts.predictions) == (KEYS[0], 2, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "s3://bucket/other"},
        {"workflow": "other"},
        {"platform": "roboflow"},
        {"parameters": {"tolerance": 3}},
        {"options": {"keep_images": False}},
        {"only_new": True},
        {"export": ExportChoice(stage="processing")},
        {"replays": KEYS[7]},
        {"pilot_of": KEYS[7]},
    ],
)
def test_run_that_was_asked_for_otherwise_is_not_the_previous_one(house: House, changes: dict[str, Any]) -> None:
    other = RunRequest.model_validate(ASKED.model_dump() | changes)
    house.add(KEYS[0], 1, other)
    assert house.previous() is None
    assert house.previous(other) == KEYS[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"rerun": "tonight"},
        {"destination": "s3://bucket/results"},
        {"credentials": "aws-credentials/mine"},
        {"runs": "elsewhere"},
        {"transfer": "upload"},
        {"source": "s3://bucket/photos/"},
        {"datasets": DatasetOptions(formats=["coco"])},
        {"expectations": Expectations(max_failures=1)},
        {"comparison": ComparisonOptions(against="previous")},
        {"pilot": PilotOptions(files=3)},
    ],
)
def test_what_is_no_part_of_the_results_does_not_count(house: House, changes: dict[str, Any]) -> None:
    house.add(KEYS[0], 1, RunRequest.model_validate(ASKED.model_dump() | changes))
    assert house.previous() == KEYS[0]


def test_every_part_of_a_request_is_looked_at() -> None:
    """A new field has to be told from what makes the results."""
    counted = {"source", "workflow", "platform", "parameters", "options", "only_new", "export", "replays", "pilot_of"}
    judged = {"datasets", "expectations", "comparison", "pilot"}
    ignored = {"rerun", "destination", "credentials", "runs", "transfer", "job", "wait"} | judged
    assert RunRequest.model_fields.keys() == counted | ignored


def test_folder_is_the_same_source_wherever_it_is_named_from(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    house.add(KEYS[0], 1, ASKED.model_copy(update={"source": "photos"}))
    assert house.previous(ASKED.model_copy(update={"source": str(tmp_path / "photos")})) == KEYS[0]


def test_finished_run_is_compared_with_what_was_before_it(tmp_path: Path) -> None:
    house = House(tmp_path / "machine", None)
    for key, hour in ((KEYS[0], 1), (OWN, 2), (KEYS[1], 3)):
        house.add(key, hour)
    assert house.previous() == KEYS[0]
    assert house.previous(key=KEYS[2]) == KEYS[1]


def spoil_lock(run: RunFolder) -> None:
    run.lock_file.write_text("{")


def ask_what_cannot_be(run: RunFolder) -> None:
    lock = json.loads(run.lock_file.read_text())
    run.lock_file.write_text(json.dumps(lock | {"request": {"source": 5}}))


def forget_lock(run: RunFolder) -> None:
    run.lock_file.unlink()


def spoil_summary(run: RunFolder) -> None:
    run.summary.write_bytes(b"junk")


def spoil_results(run: RunFolder) -> None:
    run.results.write_bytes(b"junk")


def forget_predictions(run: RunFolder) -> None:
    run.predictions.unlink()


def write_another_version(run: RunFolder) -> None:
    table = pq.read_table(run.predictions)
    pq.write_table(table.replace_schema_metadata({"darkroom.schema": "predictions/99"}), run.predictions)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_lock,
        ask_what_cannot_be,
        forget_lock,
        spoil_summary,
        spoil_results,
        forget_predictions,
        write_another_version,
    ],
)
def test_damaged_runs_are_passed_over(house: House, spoil: Callable[[RunFolder], None]) -> None:
    house.add(KEYS[0], 1)
    spoil(house.add(KEYS[1], 2))
    assert house.previous() == KEYS[0]


def test_run_is_opened_by_the_first_digits_of_its_key(house: House) -> None:
    house.add("abcd" + "0" * 12, 1)
    house.add("abce" + "0" * 12, None)
    with house.opened("abcd") as folder:
        assert folder.finished() is not None
        assert facts_of(folder).predictions == 1
        assert json.loads(folder.lock_file.read_text())["key"] == folder.key == "abcd" + "0" * 12
    with house.opened("abce") as folder:
        assert folder.finished() is None


@pytest.mark.parametrize(("key", "what"), [("abc", "2 runs"), ("e", "no run")])
def test_key_of_no_run_or_of_several_is_told(house: House, key: str, what: str) -> None:
    house.add("abcd" + "0" * 12, 1)
    house.add("abce" + "0" * 12, 1)
    with pytest.raises(BadInput, match=f"{what} in these runs with a key that begins with '{key}'"), house.opened(key):
        pass


def test_damage_of_another_run_does_not_keep_a_run_from_being_opened(house: House) -> None:
    spoil_lock(house.add(KEYS[0], 1))
    house.add("a" * 16, 1)
    with house.opened("a") as folder:
        assert folder.finished() is not None


def test_what_is_brought_from_a_bucket_goes_away(away: House) -> None:
    away.add(KEYS[0], 1)
    away.add("a" * 16, 1)
    with away.opened(KEYS[0]) as folder:
        assert folder.results.exists()
        assert not folder.export.exists()
    files = ("run.json", "summary.parquet", "results.parquet", "predictions.parquet", "failures.parquet")
    assert sorted(away.fetched) == sorted(f"{KEYS[0]}/{name}" for name in files)
    assert not folder.root.exists()
    assert list(away.runs.folder.iterdir()) == []


def test_exported_files_are_brought_where_they_are_needed(away: House) -> None:
    run = away.add(KEYS[0], 1)
    (name,) = (path.name for path in (run.export / "aggregated-results").iterdir())
    with away.opened(KEYS[0], whole=True) as folder:
        assert (folder.export / "aggregated-results" / name).read_bytes()


def test_run_that_is_finished_here_as_well_is_not_fetched(away: House) -> None:
    run = away.add(KEYS[0], 1)
    here = RunFolder(away.runs.folder / KEYS[0])
    here.root.mkdir()
    for name in ("results.parquet", "predictions.parquet", "failures.parquet", "summary.parquet"):
        away.place.sub(KEYS[0]).get(name, here.root / name)
    run.results.unlink()
    for whole in (False, True):
        with away.opened(KEYS[0], whole=whole) as folder:
            assert folder.root == here.root
    here.without_export.touch()
    with away.opened(KEYS[0]) as folder:
        assert folder.root == here.root
    with away.opened(KEYS[0], whole=True) as folder:
        assert folder.root != here.root
        assert folder.export.exists()


def test_previous_run_of_the_pipeline_is_found(bench: Bench) -> None:
    make_images(bench.source, 3)
    first = bench.staged()
    run_all(first)
    second = bench.staged(rerun="again", expectations={"max_failures": 0})
    runs, request = second.target.runs, second.target.request
    with find_previous(runs, request, second.folder.key) as found:
        assert found is not None
        assert found.key == first.folder.key
    with find_previous(runs, first.target.request, first.folder.key) as found:
        assert found is None
