import os
from itertools import count
from pathlib import Path

import pytest

from tasks.core.errors import ConnectionFailed, LocalFault, RunIncomplete
from tasks.core.progress import Counting, Silent
from tasks.core.run_folder import RunFolder
from tasks.steps.mirror import Mirror
from tasks.steps.publish import Published, publish
from tasks.transfer.places import LocalPlace, Place
from tasks.transfer.sent import PREFIX
from tests.tasks.core.summaries import summary

KEY = "0123456789abcdef"
TABLES = {"manifest.parquet", "results.parquet", "predictions.parquet", "failures.parquet"}
EXPORT = {"export/results/a.jsonl", "export/images/a.png/annotated.jpg"}
PUBLISHED = {*TABLES, *EXPORT, "run.json", "report.html", "summary.parquet"}
INNER = {"journal.jsonl", "ingest.parquet", "job.parquet", ".lock", "results.parquet.part"}


class Breaking(LocalPlace):
    """A destination that fails after so many puts, and says what was put."""

    def __init__(self, folder: Path, puts: list[str], most: int = 1000) -> None:
        super().__init__(folder)
        self._path = folder
        self._puts = puts
        self._most = most

    def sub(self, name: str) -> Place:
        return Breaking(self._path / name, self._puts, self._most)

    def put(self, name: str, file: Path) -> None:
        if len(self._puts) >= self._most:
            raise ConnectionFailed("the connection broke")
        self._puts.append(name)
        super().put(name, file)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run."""
    folder = RunFolder(tmp_path / "runs" / KEY)
    for name in (PUBLISHED | INNER) - {"summary.parquet"}:
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {name}")
    folder.journal.write_text('{"event":"done","step":"export","part":"record"}\n')
    folder.finish(summary(KEY, folder=folder.root))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publish_writes_the_results(run: RunFolder, out: Path) -> None:
    seconds = count(10)
    published = publish(run, LocalPlace(out), Silent(), clock=lambda: float(next(seconds)))
    written = contents(out / KEY)
    assert written == {name: (run.root / name).read_bytes() for name in PUBLISHED}
    assert published == Published(
        url=str(out / KEY), files=9, sent=9, bytes=sum(map(len, written.values())), seconds=1.0
    )


def test_publish_writes_the_summary_last(run: RunFolder, out: Path) -> None:
    puts: list[str] = []
    publish(run, Breaking(out, puts), Silent())
    assert puts[-1] == "summary.parquet"
    assert len(puts) == len(PUBLISHED)


def test_publish_again_does_nothing(run: RunFolder, out: Path) -> None:
    first = publish(run, LocalPlace(out), Silent())
    puts: list[str] = []
    again = publish(run, Breaking(out, puts), Silent())
    assert puts == []
    assert (again.files, again.bytes, again.sent) == (first.files, first.bytes, 0)


@pytest.mark.parametrize("before", [0, 1, 5, 8])
def test_publish_that_broke_off_goes_on(run: RunFolder, out: Path, before: int) -> None:
    first: list[str] = []
    with pytest.raises(ConnectionFailed):
        publish(run, Breaking(out, first, before), Silent())
    assert not (out / KEY / "summary.parquet").exists()
    second: list[str] = []
    published = publish(run, Breaking(out, second), Silent())
    assert contents(out / KEY) == {name: (run.root / name).read_bytes() for name in PUBLISHED}
    assert published.sent == len(second)
    if before == 8:  # all of them were there and noted
        assert second == ["summary.parquet"]


def test_publish_writes_again_what_vanished_or_changed_in_size(run: RunFolder, out: Path) -> None:
    with pytest.raises(ConnectionFailed):
        publish(run, Breaking(out, [], len(PUBLISHED) - 1), Silent())
    (out / KEY / "results.parquet").unlink()
    (out / KEY / "report.html").write_text("cut")
    puts: list[str] = []
    publish(run, Breaking(out, puts), Silent())
    assert sorted(puts) == ["report.html", "results.parquet", "summary.parquet"]


def test_publish_writes_everything_over_another_execution(run: RunFolder, out: Path) -> None:
    publish(run, LocalPlace(out), Silent())
    for path in (out / KEY).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[::-1])  # of the same size, by another machine
    puts: list[str] = []
    publish(run, Breaking(out, puts), Silent())
    assert sorted(puts) == sorted(PUBLISHED)
    assert contents(out / KEY) == {name: (run.root / name).read_bytes() for name in PUBLISHED}


def test_publish_to_two_destinations(run: RunFolder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert publish(run, LocalPlace(tmp_path / name), Silent()).sent == len(PUBLISHED)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_publish_into_the_runs_folder_itself_changes_nothing(run: RunFolder) -> None:
    before = contents(run.root)
    assert publish(run, LocalPlace(run.root.parent), Silent()).sent == 0
    assert {name: data for name, data in contents(run.root).items() if not name.startswith(PREFIX)} == before


def test_datasets_that_come_later_join_what_is_published(run: RunFolder, out: Path) -> None:
    publish(run, LocalPlace(out), Silent())
    for name in ("coco/annotations.json", "yolo.zip"):
        path = run.datasets / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {name}")
    puts: list[str] = []
    published = publish(run, Breaking(out, puts), Silent())
    assert puts == ["datasets/coco/annotations.json", "datasets/yolo.zip", "summary.parquet"]
    assert (published.files, published.sent) == (len(PUBLISHED) + 2, 3)


def test_what_another_machine_has_published_is_not_written_again(run: RunFolder, out: Path) -> None:
    publish(run, LocalPlace(out), Silent())
    for note in run.root.glob(f"{PREFIX}*"):
        note.unlink()
    (out / KEY / "report.html").unlink()
    puts: list[str] = []
    publish(run, Breaking(out, puts), Silent())
    assert puts == ["report.html", "summary.parquet"]


def test_dataset_that_was_written_anew_is_published_anew(run: RunFolder, out: Path) -> None:
    dataset = run.datasets / "coco.json"
    dataset.parent.mkdir()
    dataset.write_text("first")
    publish(run, LocalPlace(out), Silent())
    dataset.write_text("other")
    os.utime(dataset, (1, 1))
    publish(run, LocalPlace(out), Silent())
    assert (out / KEY / "datasets" / "coco.json").read_text() == "other"


def test_publish_says_how_far_it_is(run: RunFolder, out: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with pytest.raises(ConnectionFailed):
        publish(run, Breaking(out, [], len(PUBLISHED) - 1), Silent())
    for _ in ("the rest", "nothing"):
        publish(run, LocalPlace(out), Counting(lambda *told: seen.append(told), interval=0.0))
        assert seen[-1] == ("publish", len(PUBLISHED), len(PUBLISHED))


def test_unfinished_run_is_not_published(run: RunFolder, out: Path) -> None:
    run.summary.unlink()
    with pytest.raises(RunIncomplete, match=f"run {KEY} is not finished"):
        publish(run, LocalPlace(out), Silent())
    assert not out.exists()


def test_run_without_its_export_is_not_published(run: RunFolder, out: Path, tmp_path: Path) -> None:
    mirror = Mirror(LocalPlace(tmp_path / "bucket"))
    mirror.push(run)
    here = RunFolder(tmp_path / "machine-b" / KEY)
    mirror.pull(here)
    with pytest.raises(LocalFault, match="bring them there first"):
        publish(here, LocalPlace(out), Silent())
    mirror.complete(here)
    publish(here, LocalPlace(out), Silent())
    assert set(contents(out / KEY)) == PUBLISHED
