import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.run_folder import STAGING, RunFolder, adopt, find_run, list_runs, staging_folder
from tests.tasks.core.summaries import summary
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef"
STAGE_FOR_EVER = """
import sys
from pathlib import Path
from tasks.core.run_folder import staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / "manifest.parquet").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""
HOLD_FOR_EVER = """
import sys
from pathlib import Path
from tasks.core.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).held(lambda: print("waits", flush=True)):
    print("holds", flush=True)
    sys.stdin.read()
"""


@contextmanager
def child(code: str, argument: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs ``code`` until its input ends, and the first line that it printed."""
    command = [sys.executable, "-c", code, str(argument)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def run_at(root: Path) -> RunFolder:
    root.mkdir(parents=True)
    return RunFolder(root)


def never() -> None:
    raise AssertionError("nobody else holds the run")


def test_staging_folder_is_gone_afterwards(tmp_path: Path) -> None:
    runs = tmp_path / "deep/runs"
    with staging_folder(runs) as folder:
        (folder / "a").write_text("x")
        assert folder.parent == runs / STAGING
    with pytest.raises(ZeroDivisionError), staging_folder(runs):
        raise ZeroDivisionError
    assert [*(runs / STAGING).iterdir()] == []


def test_staging_folder_sweeps_what_a_killed_process_left(tmp_path: Path) -> None:
    with child(STAGE_FOR_EVER, tmp_path) as (process, left):
        assert (Path(left) / "manifest.parquet").exists()
        process.kill()
        process.wait()
    assert Path(left).exists()
    with staging_folder(tmp_path) as folder:
        assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_staging_folder_leaves_a_living_process_alone(tmp_path: Path) -> None:
    with child(STAGE_FOR_EVER, tmp_path) as (process, held):
        with staging_folder(tmp_path) as folder:
            assert folder != Path(held)
        assert (Path(held) / "manifest.parquet").exists()
        process.communicate()
    assert [*(tmp_path / STAGING).iterdir()] == []


def test_staging_folder_may_be_taken_by_many_at_once(tmp_path: Path) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(40):
                with staging_folder(tmp_path) as folder:
                    (folder / "a").write_text("x")
        except OSError as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [*(tmp_path / STAGING).iterdir()] == []


def test_adopt_makes_the_staged_folder_the_run_s(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / KEY)
    with staging_folder(tmp_path) as folder:
        (folder / "manifest.parquet").write_text("staged")
        adopt(folder, run)
    assert run.manifest.read_text() == "staged"
    assert [*(tmp_path / STAGING).iterdir()] == []


def test_adopt_keeps_the_first(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / KEY)
    for text in ("first", "second"):
        with staging_folder(tmp_path) as folder:
            (folder / "manifest.parquet").write_text(text)
            adopt(folder, run)
    assert run.manifest.read_text() == "first"


def test_adopt_does_not_take_a_strange_folder_for_a_run(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    (run.root / "holiday.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"), staging_folder(tmp_path) as folder:
        (folder / "manifest.parquet").write_text("staged")
        adopt(folder, run)
    assert [*run.root.iterdir()] == [run.root / "holiday.txt"]


def test_held_keeps_another_process_out_until_it_is_killed(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    waited = threading.Event()
    with child(HOLD_FOR_EVER, run.root) as (process, said):
        assert said == "holds"
        entered = threading.Event()

        def enter() -> None:
            with run.held(waited.set):
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert waited.wait(10)
        assert not entered.is_set()
        process.kill()
        thread.join(10)
        assert entered.is_set()


def test_held_makes_another_process_wait(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    with run.held(never):
        opened = child(HOLD_FOR_EVER, run.root)
        process, said = opened.__enter__()
        assert said == "waits"
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "holds"
    opened.__exit__(None, None, None)


def test_held_may_be_taken_again(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    for _ in range(2):
        with run.held(never):
            pass


def test_finished_run_is_read_back(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    assert run.finished() is None
    made = summary(KEY, folder=run.root, workflow_digest="d")
    run.finish(made)
    assert run.finished() == made
    assert pq.read_table(run.summary).num_rows == 1
    assert [*run.root.iterdir()] == [run.summary]


def test_finished_run_keeps_times_in_utc(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    local = datetime(2026, 9, 15, 14, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    run.finish(summary(KEY, started=local))
    found = run.finished()
    assert found is not None
    assert found.started == datetime(2026, 9, 15, 12, 0, 0, 123_456, tzinfo=UTC)
    assert found.started.utcoffset() == timedelta(0)


def test_finished_run_may_be_moved(tmp_path: Path) -> None:
    run = run_at(tmp_path / "runs" / KEY)
    run.finish(summary(KEY, folder=run.root))
    (tmp_path / "runs").rename(tmp_path / "archive")
    found = RunFolder(tmp_path / "archive" / KEY).finished()
    assert found is not None
    assert found.report == tmp_path / "archive" / KEY / "report.html"


def test_find_run_takes_the_first_digits(tmp_path: Path) -> None:
    for key in (KEY, "01ff456789abcdef"):
        run_at(tmp_path / key)
    assert find_run(tmp_path, "012", "the runs").key == KEY
    assert find_run(tmp_path, KEY, "the runs").root == tmp_path / KEY


@pytest.mark.parametrize(
    ("digits", "says"), [("01", "2 runs in .*'01'"), ("", "2 runs"), ("ff", "no run in .*'ff'"), (KEY + "0", "no run")]
)
def test_find_run_says_when_it_cannot_tell(tmp_path: Path, digits: str, says: str) -> None:
    for key in (KEY, "01ff456789abcdef"):
        run_at(tmp_path / key)
    with pytest.raises(BadInput, match=f"{says}.*darkroom runs"):
        find_run(tmp_path, digits, "the runs")


def test_list_runs_gives_the_latest_first_and_runs_only(tmp_path: Path) -> None:
    for age, key in enumerate((KEY, "1" * 16, "2" * 16)):
        run_at(tmp_path / key)
        os.utime(tmp_path / key, (1000 - age, 1000 - age))
    for other in ("my-holiday-2026x", STAGING, "f" * 15, "export"):
        (tmp_path / other).mkdir()
    (tmp_path / ("3" * 16)).touch()
    assert [run.key for run in list_runs(tmp_path)] == [KEY, "1" * 16, "2" * 16]
    assert list_runs(tmp_path / "nowhere") == []


def test_waiting_process_goes_on_when_the_run_is_free(tmp_path: Path) -> None:
    run = run_at(tmp_path / KEY)
    order: list[str] = []
    first_in, release = threading.Event(), threading.Event()

    def first() -> None:
        with run.held(never):
            first_in.set()
            release.wait(10)
            order.append("first out")

    def second() -> None:
        with run.held(lambda: order.append("second waits")):
            order.append("second in")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert first_in.wait(10)
    threads[1].start()
    wait_for(lambda: order, "the second to wait")
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["second waits", "first out", "second in"]


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1junkPAR1"])
def test_damaged_summary_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "summary.parquet").write_bytes(content)
    with pytest.raises(LocalFault, match=r"summary.parquet is damaged: pass --rerun LABEL"):
        RunFolder(tmp_path).finished()
