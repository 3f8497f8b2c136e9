"""What is acknowledged is on disk: contents, names, and the database's own writes."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from deployments.batch_server.blobs import BlobFolder, BodyCut
from deployments.batch_server.chunks import ChunkFolder
from deployments.batch_server.data_folder import kept_secret
from deployments.batch_server.database import Database
from deployments.batch_server.reference_files import ReferenceFiles
from tasks.roboflow_api.models import Reference

Flushed = list[Path]


@pytest.fixture
def flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flushed:
    """Files and folders of this test in the order in which they were flushed; servers of others write beside it."""
    found: Flushed = []
    flush = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(tmp_path):
            found.append(path)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_blob_is_flushed_with_its_name_and_that_of_its_folder(tmp_path: Path, flushed: Flushed) -> None:
    path = tmp_path / BlobFolder(tmp_path).write(".img", b"x").path
    assert flushed == [tmp_path, tmp_path / "blobs", path, path.parent]


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.anyio
async def test_streamed_blob_is_flushed_with_its_name(tmp_path: Path, flushed: Flushed) -> None:
    path = tmp_path / (await BlobFolder(tmp_path).write_stream(".tar", pieces(), 1)).path
    assert flushed[-2:] == [path, path.parent]


@pytest.mark.anyio
@pytest.mark.parametrize("announced", [0, 2])
async def test_streamed_blob_of_another_length_than_announced_leaves_nothing(tmp_path: Path, announced: int) -> None:
    with pytest.raises(BodyCut, match=f"{announced} bytes were announced and 1 came"):
        await BlobFolder(tmp_path).write_stream(".tar", pieces(), announced)
    assert list((tmp_path / "blobs").glob("*/*")) == []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_blob_filled_file_by_file_is_flushed_with_its_name(tmp_path: Path, flushed: Flushed) -> None:
    blobs = BlobFolder(tmp_path)
    with blobs.begin(".images") as blob:
        places = [blob.append(io.BytesIO(content)) for content in (b"one", b"", b"three")]
        path = tmp_path / blob.finish()
    assert places == [(0, 3), (3, 0), (3, 5)]
    assert path.read_bytes() == b"onethree"
    assert flushed[-2:] == [path, path.parent]


def test_blob_that_failed_or_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path)
    with blobs.begin(".images") as blob:
        blob.append(io.BytesIO(b"one"))
    with pytest.raises(OSError, match="disk"), blobs.begin(".images") as blob:
        blob.append(io.BytesIO(b"one"))
        raise OSError("disk")
    assert list((tmp_path / "blobs").glob("*/*")) == []


def test_blob_that_a_row_may_name_outlives_the_cancellation_of_its_writer(tmp_path: Path) -> None:
    with pytest.raises(asyncio.CancelledError), BlobFolder(tmp_path).begin(".images") as blob:
        blob.append(io.BytesIO(b"one"))
        path = tmp_path / blob.finish()
        raise asyncio.CancelledError
    assert path.read_bytes() == b"one"


def test_references_are_flushed_with_their_names_for_the_owner_alone(tmp_path: Path, flushed: Flushed) -> None:
    files = ReferenceFiles(tmp_path)
    files.keep({"a": [Reference(name="1.jpg", url="https://a.example/?sig=x")], "b": []})
    files.keep_list("c", "https://a.example/list")
    folder = tmp_path / "references"
    assert flushed == [tmp_path, folder / "a.json", folder / "b.json", folder, folder / "c.list", folder]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert (files.references("a")[0].name, files.list_url("c")) == ("1.jpg", "https://a.example/list")


def test_task_is_flushed_before_it_gets_its_name_and_its_names_after(tmp_path: Path, flushed: Flushed) -> None:
    job = tmp_path / "jobs/j"
    folder = ChunkFolder(tmp_path, job, "chunk-00000")
    part = folder.fresh()
    (part / "results.jsonl").write_text('{"image": "a.jpg"}\n')
    folder.complete(1)
    assert flushed == [part / "results.jsonl", part / "failures.jsonl", part, job, job.parent]


def test_secret_is_flushed_with_its_name(tmp_path: Path, flushed: Flushed) -> None:
    kept_secret(tmp_path / "secret")
    assert flushed[-1] == tmp_path


def test_database_writes_ahead_and_flushes_at_every_commit(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'db'}")
    with database.write() as session:
        values = {name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")}
    database.close()
    assert values == {"journal_mode": "wal", "synchronous": 2}
