"""Where everything about a run lies: ``<runs>/<key>/``."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import BadInput, damaged
from tasks.core.files import appearing, sync_folder, write_text
from tasks.core.identity import KEY_DIGITS
from tasks.core.records import RunSummary
from tasks.core.request import RunRequest

STAGING = ".staging"
LOCK_SCHEMA = "run/1"
_KEY = re.compile(rf"[0-9a-f]{{{KEY_DIGITS}}}")
SUMMARY_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("workflow", pa.string()),
        ("workflow_digest", pa.string()),
        ("platform", pa.string()),
        ("workspace", pa.string()),
        ("batch_id", pa.string()),
        ("job_id", pa.string()),
        ("files", pa.int64()),
        ("processed", pa.int64()),
        ("failed", pa.int64()),
        ("rejected", pa.int64()),
        ("predictions", pa.int64()),
        ("bytes", pa.int64()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("finished", pa.timestamp("us", tz="UTC")),
        ("seconds", pa.float64()),
        ("stage_seconds", pa.float64()),
        ("ingest_seconds", pa.float64()),
        ("launch_seconds", pa.float64()),
        ("wait_seconds", pa.float64()),
        ("export_seconds", pa.float64()),
        ("summarize_seconds", pa.float64()),
    ],
    metadata={"darkroom.schema": "summary/1"},
)


class RunFolder:
    """The folder of one run and the names in it.

    Args:
        root: ``<runs>/<key>``; need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = root.name
        self.lock_file = root / "run.json"
        self.journal = root / "journal.jsonl"
        self.manifest = root / "manifest.parquet"
        self.ingest = root / "ingest.parquet"
        self.job = root / "job.parquet"
        self.results = root / "results.parquet"
        self.predictions = root / "predictions.parquet"
        self.failures = root / "failures.parquet"
        self.export = root / "export"
        self.datasets = root / "datasets"
        self.report = root / "report.html"
        self.summary = root / "summary.parquet"
        self.without_export = root / ".without-export"
        """Marks a finished run that was brought here without its exported files."""

    @contextmanager
    def held(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Keeps every other process out of the run; the kernel frees the lock of a killed process.

        Args:
            on_wait: called once when another process holds the run; the call then waits for it.
        """
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def free(self) -> Iterator[bool]:
        """Whether no process holds the run; where that is so, none gets it before the block ends."""
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def finished(self) -> RunSummary | None:
        """The summary of a run that is done, else ``None``.

        Raises:
            LocalFault: the summary is damaged.
        """
        if not self.summary.exists():
            return None
        try:
            (row,) = pq.read_table(self.summary).to_pylist()
            return RunSummary(**row, folder=self.root)
        except ValueError:  # pyarrow's ArrowInvalid and pydantic's ValidationError are such
            raise damaged(self.summary) from None

    def reopen(self) -> None:
        """Takes a run up again whose export is to be another one: it is not done any more, and has no datasets."""
        self.summary.unlink(missing_ok=True)
        sync_folder(self.root)
        shutil.rmtree(self.datasets, ignore_errors=True)
        self.without_export.unlink(missing_ok=True)

    def finish(self, summary: RunSummary) -> None:
        """Writes ``summary.parquet``: from here on the run is done."""
        row: dict[str, Any] = summary.model_dump(include=set(SUMMARY_SCHEMA.names))
        row |= {name: row[name].astimezone(UTC) for name in ("started", "finished")}
        with appearing(self.summary) as partial:
            pq.write_table(pa.Table.from_pylist([row], schema=SUMMARY_SCHEMA), partial)


def read_lock(run: RunFolder) -> dict[str, Any]:
    """The content of ``run.json``.

    Raises:
        LocalFault: it is damaged.
    """
    try:
        content = json.loads(run.lock_file.read_text(encoding="utf-8"))
    except ValueError:
        raise damaged(run.lock_file) from None
    if not isinstance(content, dict) or content.get("schema") != LOCK_SCHEMA:
        raise damaged(run.lock_file)
    return content


def keep_request(run: RunFolder, request: RunRequest) -> None:
    """Has ``run.json`` say what was asked for the last time: the same run may be exported or judged in another way."""
    lock = read_lock(run)
    asked = {"command": request.command(), "request": request.model_dump(mode="json")}
    if not asked.items() <= lock.items():
        write_text(run.lock_file, lock_text(lock | asked))


def lock_text(lock: dict[str, Any]) -> str:
    """The content of ``run.json``."""
    return json.dumps(lock, indent=2, ensure_ascii=False) + "\n"


def is_key(name: str) -> bool:
    """Whether ``name`` is the key of a run."""
    return _KEY.fullmatch(name) is not None


def find_run(runs: Path, key: str, named: str) -> RunFolder:
    """The folder of the run whose key begins with ``key``.

    Args:
        runs: where run folders lie.
        key: the key, or its first digits.
        named: how the user names that place.

    Raises:
        BadInput: no run, or more than one, begins so.
    """
    found = [folder for folder in list_runs(runs) if folder.key.startswith(key)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise BadInput(f"{what} in {named} with a key that begins with {key!r}: `darkroom runs` lists them")
    return found[0]


def list_runs(runs: Path) -> list[RunFolder]:
    """Every run folder below ``runs``, latest first."""
    if not runs.is_dir():
        return []
    folders = [path for path in runs.iterdir() if is_key(path.name) and path.is_dir()]
    return [RunFolder(path) for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]


@contextmanager
def staging_folder(runs: Path) -> Iterator[Path]:
    """A folder to stage into before the run's key is known; what is left of it afterwards is removed.

    Leftovers of killed processes are told by their free lock and removed as well.
    """
    place = runs / STAGING
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    folder = place / uuid.uuid4().hex
    with (place / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir()  # only under the lock, or another process's sweep could take it for a leftover
        try:
            yield folder
        finally:
            _remove(folder)


def adopt(staged: Path, run: RunFolder) -> None:
    """Makes a staged folder the run's folder, unless the run has one: then that one stays."""
    try:
        staged.rename(run.root)
    except OSError:
        if not run.manifest.exists():
            raise
    else:
        sync_folder(run.root.parent)


def _sweep(place: Path) -> None:
    for lock_path in place.glob("*.lock"):
        try:
            with lock_path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock_path.with_suffix(""))
        except (BlockingIOError, FileNotFoundError):
            continue


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(folder.name + ".lock").unlink(missing_ok=True)
