"""Runs that go on on another machine than they were begun on."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ConnectionFailed
from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.run_folder import STAGING, RunFolder
from tasks.steps.ingest import ingest
from tasks.steps.mirror import ELSEWHERE, EXPORT, INGEST, Mirror, TakenOver
from tasks.steps.runs import Runs
from tasks.steps.stage import stage
from tasks.transfer.places import LocalPlace, Place
from tests.deployments.batch_server.running import ServerClient
from tests.images import make_images
from tests.tasks.steps.conftest import Bench, run_all
from tests.tasks.steps.mirrored import EXPORTED, KEY, Watched, begun, exported, finished, names, on, uncertain
from tests.waiting import wait_for


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def mirror(bucket: Path) -> Mirror:
    return Mirror(LocalPlace(bucket))


def test_pulled_run_is_uncertain_of_what_has_arrived(tmp_path: Path, mirror: Mirror) -> None:
    run = begun(tmp_path / "a")
    mirror.push(run)  # ingest may have begun since
    assert mirror.pull(on(tmp_path / "b"))
    assert uncertain(on(tmp_path / "b")) == [ELSEWHERE]
    assert on(tmp_path / "b").manifest.read_text() == "manifest"


def test_pulled_run_keeps_what_was_done(tmp_path: Path, mirror: Mirror) -> None:
    run = exported(begun(tmp_path / "a"))
    mirror.push(run)
    assert mirror.pull(on(tmp_path / "b"))
    assert names(on(tmp_path / "b").root) >= set(EXPORTED)
    with Journal(on(tmp_path / "b").journal) as journal:
        assert journal.confirmed(EXPORT, "results/a.jsonl")
        assert journal.confirmed(EXPORT, "record")


def test_pulled_run_exports_anew_what_was_under_way(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a"), whole=False))
    assert mirror.pull(on(tmp_path / "b"))
    assert not on(tmp_path / "b").export.exists()
    with Journal(on(tmp_path / "b").journal) as journal:
        assert journal.confirmed(INGEST, "record")
        assert journal.confirmed(EXPORT, "results/a.jsonl") is None
    assert (bucket / KEY / "journal.jsonl").read_bytes() == on(tmp_path / "b").journal.read_bytes()


def test_pulled_run_is_not_pulled_again(tmp_path: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a"), whole=False))
    assert [mirror.pull(on(tmp_path / "b")) for _ in range(2)] == [True, False]
    with Journal(on(tmp_path / "b").journal) as journal:
        journal.confirm(EXPORT, "results/a.jsonl", bytes=2, refused=0)
    assert not mirror.pull(on(tmp_path / "b"))


def test_pulled_run_sends_back_only_what_is_new(tmp_path: Path, bucket: Path) -> None:
    puts: list[str] = []
    mirror = Mirror(Watched(bucket, puts))
    mirror.push(exported(begun(tmp_path / "a")))
    mirror.pull(on(tmp_path / "b"))
    puts.clear()
    on(tmp_path / "b").results.write_text("results")
    mirror.push(on(tmp_path / "b"))
    assert puts == ["results.parquet", "journal.jsonl"]


def test_run_that_was_staged_here_takes_what_another_machine_did(tmp_path: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    here = begun(tmp_path / "b")
    here.manifest.write_text("another look at the same files")
    (here.root / ".lock").touch()
    assert mirror.pull(here)
    assert here.manifest.read_text() == "manifest"
    assert {*EXPORTED, ".lock"} <= names(here.root)


def test_machine_that_comes_back_takes_over_in_turn(tmp_path: Path, mirror: Mirror) -> None:
    first, second = exported(begun(tmp_path / "a"), whole=False), on(tmp_path / "b")
    (first.root / "export/results/x.tar.gz").write_text("not unpacked yet")
    mirror.push(first)
    assert not mirror.pull(first)
    mirror.pull(second)
    exported(second)
    mirror.push(second)
    assert mirror.pull(first)
    assert uncertain(first) == [ELSEWHERE]
    assert {name for name in names(first.root) if name.startswith("export")} == set(EXPORTED)
    assert mirror.pull(second)


def test_machine_that_never_stopped_is_told(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    first = begun(tmp_path / "a")
    mirror.push(first)
    mirror.pull(on(tmp_path / "b"))
    finished(first)
    theirs = (bucket / KEY / "journal.jsonl").read_bytes()
    with pytest.raises(TakenOver, match=f"run {KEY} was taken over by another machine"):
        mirror.push(first)
    assert (bucket / KEY / "journal.jsonl").read_bytes() == theirs
    assert not (bucket / KEY / "summary.parquet").exists()


def test_pull_that_breaks_off_leaves_nothing(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    with pytest.raises(ConnectionFailed):
        Mirror(Watched(bucket, [], failing="journal.jsonl")).pull(on(tmp_path / "b"))
    assert not on(tmp_path / "b").root.exists()
    assert [path.suffix for path in (tmp_path / "b" / STAGING).iterdir()] == [".pull"]


@pytest.mark.parametrize("left", [set(), {"run.json"}, {"run.json", "manifest.parquet", "export/results/a.jsonl"}])
def test_pull_that_was_killed_while_it_replaced_files_is_done_again(
    tmp_path: Path, mirror: Mirror, left: set[str]
) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    here = on(tmp_path / "b")
    here.root.mkdir(parents=True)
    for name in left:
        (here.root / name).parent.mkdir(parents=True, exist_ok=True)
        (here.root / name).write_text("old")
    assert mirror.pull(here)
    assert here.manifest.read_text() == "manifest"
    assert (here.root / "export/results/a.jsonl").read_text() == "{}"


@pytest.mark.parametrize("steps", range(12))
def test_pull_that_is_killed_while_it_replaces_files_is_done_again(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    first, second = exported(begun(tmp_path / "a")), on(tmp_path / "b")
    mirror.push(first)
    mirror.pull(second)
    mirror.push(finished(second))
    whole = {name for name in names(second.root) if not name.startswith((".", "export/"))}
    left = iter(range(steps))

    def die_in_the_end(_folder: Path) -> None:
        if next(left, None) is None:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr("tasks.steps.mirror.sync_folder", die_in_the_end)
        with pytest.raises(InterruptedError):
            mirror.pull(first)
    assert names(first.root) >= whole - {"journal.jsonl", "summary.parquet"} or not first.journal.exists()
    assert names(first.root) >= whole or not first.summary.exists()
    assert mirror.pull(first) or first.summary.exists()
    assert {name for name in names(first.root) if not name.startswith(".")} == whole


def test_two_takeovers_are_told_apart(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    journal = (bucket / KEY / "journal.jsonl").read_bytes()
    mirror.pull(on(tmp_path / "b"))
    (bucket / KEY / "journal.jsonl").write_bytes(journal)  # as the other machine still saw it
    mirror.pull(on(tmp_path / "c"))
    with pytest.raises(TakenOver):
        mirror.push(on(tmp_path / "b"))


def test_pull_does_not_take_a_run_from_under_a_process(
    tmp_path: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    here = begun(tmp_path / "b")
    pulled = threading.Event()

    def pull() -> None:
        mirror.pull(here)
        pulled.set()

    thread = threading.Thread(target=pull)
    with here.held(lambda: None):
        thread.start()
        wait_for(lambda: "under way in another process" in caplog.text, "the other process to wait")
        with Journal(here.journal) as journal:
            journal.confirm(INGEST, "record", record={})
        assert not pulled.is_set()
        assert here.manifest.exists()
    thread.join(10)
    assert pulled.is_set()


class Listening(LocalPlace):
    """A place that says what is fetched."""

    def __init__(self, folder: Path, gotten: list[str]) -> None:
        super().__init__(folder)
        self._path = folder
        self._gotten = gotten

    def sub(self, name: str) -> Place:
        return Listening(self._path / name, self._gotten)

    def get(self, name: str, target: Path) -> bool:
        self._gotten.append(name)
        return super().get(name, target)


def test_two_processes_bring_a_run_once(tmp_path: Path, bucket: Path, mirror: Mirror) -> None:
    mirror.push(exported(begun(tmp_path / "a")))
    gotten: list[str] = []
    results: list[bool] = []

    def pull() -> None:
        results.append(Mirror(Listening(bucket, gotten)).pull(on(tmp_path / "b")))

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [False, False, False, True]
    assert gotten.count("manifest.parquet") == 1
    assert json.loads((bucket / KEY / "journal.jsonl").read_text().splitlines()[-1])["part"] == ELSEWHERE


def test_run_begun_on_one_machine_is_finished_on_another(
    bench: Bench, server: ServerClient, tmp_path: Path, bucket: Path, mirror: Mirror
) -> None:
    make_images(bench.source, 300)
    run = bench.staged()
    mirror.push(run.folder)
    ingest(run, 300)  # the machine dies: nobody has seen its journal since
    target = replace(bench.target(), runs=Runs(tmp_path / "b", LocalPlace(bucket), mirror))
    staged = stage(target, Silent(), bench.timing)
    assert isinstance(staged, Staged)
    elsewhere = bench.opened(target, RunFolder(staged.folder))
    assert elsewhere.folder.root == tmp_path / "b" / run.folder.key
    assert run_all(elsewhere).processed == 300
    assert len(server.shards(run.remote_id)) == 2
    mirror.push(elsewhere.folder)
    assert mirror.pull(run.folder)
    found = run.folder.finished()
    assert found is not None
    assert found.processed == 300
