import os
from pathlib import Path

import pytest

from tasks.core.errors import ConnectionFailed
from tasks.core.journal import Journal
from tasks.steps import collecting, context
from tasks.steps.mirror import EXPORT, INGEST, Mirror, is_whole
from tasks.transfer.places import LocalPlace
from tests.tasks.steps.mirrored import EXPORTED, KEY, Watched, begun, exported, finished, names, on


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def mirror(bucket: Path) -> Mirror:
    return Mirror(LocalPlace(bucket))


def test_names_of_steps_are_the_steps_own() -> None:
    assert (INGEST, EXPORT) == (context.INGEST, collecting.STEP)


def test_push_leaves_out_what_is_not_whole(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    run = exported(begun(tmp_path / "a"))
    for name in (
        ".lock",
        ".results.sqlite",
        "results.parquet.part",
        "export/x.tar.gz.part",
        "export/x.tar.gz.part.json",
    ):
        (run.root / name).write_text("half")
    mirror.push(run)
    assert names(bucket / KEY) == {"run.json", "manifest.parquet", "journal.jsonl", *EXPORTED}


def test_push_sends_only_what_is_new(tmp_path: Path, bucket: Path) -> None:
    puts: list[str] = []
    mirror = Mirror(Watched(bucket, puts))
    run = begun(tmp_path / "a")
    mirror.push(run)
    assert sorted(puts) == ["manifest.parquet", "run.json"]
    puts.clear()
    run.ingest.write_text("ingest")
    with Journal(run.journal) as journal:
        journal.confirm(INGEST, "record", record={})
        mirror.push(run)
    assert puts == ["ingest.parquet", "journal.jsonl"]
    puts.clear()
    os.utime(run.ingest, (1, 1))
    mirror.push(run)
    assert puts[0] == "ingest.parquet"


def test_push_sends_everything_again_when_the_place_was_emptied(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    run = finished(begun(tmp_path / "a"))
    mirror.push(run)
    whole = names(bucket / KEY)
    (bucket / KEY).rename(tmp_path / "elsewhere")
    mirror.push(run)
    assert names(bucket / KEY) == whole


def test_push_sends_the_journal_after_the_data_and_the_summary_last(tmp_path: Path, bucket: Path) -> None:
    puts: list[str] = []
    Mirror(Watched(bucket, puts)).push(finished(begun(tmp_path / "a")))
    assert puts[-2:] == ["journal.jsonl", "summary.parquet"]
    assert len(puts) == 10 + len(EXPORTED)


def test_push_that_breaks_off_goes_on_with_the_rest(tmp_path: Path, bucket: Path) -> None:
    puts: list[str] = []
    run = finished(begun(tmp_path / "a"))
    with pytest.raises(ConnectionFailed):
        Mirror(Watched(bucket, puts, failing="summary.parquet")).push(run)
    assert not (bucket / KEY / "summary.parquet").exists()
    puts.clear()
    Mirror(Watched(bucket, puts)).push(run)
    assert puts == ["journal.jsonl", "summary.parquet"]


def test_push_keeps_an_export_under_way_back(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a"), whole=False))
    assert names(bucket / KEY) == {"run.json", "manifest.parquet", "journal.jsonl"}


def test_pull_brings_nothing_where_nothing_is(tmp_path: Path, mirror: Mirror) -> None:
    assert not mirror.pull(on(tmp_path / "b"))
    assert not on(tmp_path / "b").root.exists()


@pytest.mark.parametrize("missing", ["run.json", "manifest.parquet"])
def test_pull_does_not_count_a_first_push_that_broke_off(
    tmp_path: Path, bucket: Path, mirror: Mirror, missing: str
) -> None:
    mirror.push(begun(tmp_path / "a"))
    (bucket / KEY / missing).unlink()
    assert not mirror.pull(on(tmp_path / "b"))


def test_pull_of_a_finished_run_brings_what_shows_it(tmp_path: Path, mirror: Mirror) -> None:
    run = finished(begun(tmp_path / "a"))
    mirror.push(run)
    here = on(tmp_path / "b")
    assert mirror.pull(here)
    assert {name for name in names(here.root) if not name.startswith(".")} == {
        name for name in names(run.root) if not name.startswith((".", "export/"))
    }
    found = here.finished()
    assert found is not None
    assert found.folder == here.root
    assert here.journal.read_bytes() == run.journal.read_bytes()
    assert not mirror.pull(here)


def test_pull_brings_a_summary_that_a_killed_pull_has_not(tmp_path: Path, mirror: Mirror) -> None:
    mirror.push(finished(begun(tmp_path / "a")))
    here = on(tmp_path / "b")
    mirror.pull(here)
    here.summary.unlink()
    assert mirror.pull(here)
    assert here.finished() is not None


def test_complete_brings_the_export_of_a_finished_run(tmp_path: Path, bucket: Path) -> None:
    puts: list[str] = []
    mirror = Mirror(Watched(bucket, puts))
    mirror.push(finished(begun(tmp_path / "a")))
    here = on(tmp_path / "b")
    mirror.pull(here)
    assert not is_whole(here)
    mirror.complete(here)
    assert is_whole(here)
    assert {name: (here.root / name).read_text() for name in EXPORTED} == EXPORTED
    puts.clear()
    mirror.push(here)
    assert puts == ["journal.jsonl", "summary.parquet"]
