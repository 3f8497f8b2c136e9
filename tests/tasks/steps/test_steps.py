import json
import os
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, Conflict, JobFailed, LocalFault, RunIncomplete
from tasks.core.records import Exported
from tasks.core.run_folder import RunFolder, read_lock
from tasks.media.names import decode_name
from tasks.roboflow_api.models import StagingBatchInput
from tasks.roboflow_api.retrying import Timing
from tasks.steps.arrival import BatchState, Quiet
from tasks.steps.export import export
from tasks.steps.ingest import ingest
from tasks.steps.launch import agrees, describe_job, launch
from tasks.steps.stage import find_finished
from tasks.steps.summarize import reconcile
from tasks.steps.uploads import SIMPLE_UPLOAD_MOST
from tasks.steps.wait import wait
from tests.deployments.batch_server.running import ServerClient, job_body
from tests.images import make_image, make_images
from tests.tasks.steps.conftest import Bench, run_all

SHARDED = SIMPLE_UPLOAD_MOST + 1


def column(path: Path, name: str) -> list[object]:
    return list(pq.read_table(path)[name].to_pylist())


def names_in_batch(server: ServerClient, batch: str) -> list[str]:
    listed = server.staging("GET", f"/{batch}/list", params={"pageSize": "1000"}).json()["filesMetadata"]
    return sorted(entry["fileName"] for entry in listed)


@pytest.mark.parametrize("images", [1, SIMPLE_UPLOAD_MOST, SHARDED, 300])
def test_run_accounts_for_every_image(bench: Bench, images: int) -> None:
    make_images(bench.source, images)
    summary = run_all(bench.staged())
    assert (summary.files, summary.processed, summary.failed, summary.rejected) == (images, images, 0, 0)
    assert column(summary.folder / "results.parquet", "file") == [f"image-{n:05d}.png" for n in range(images)]
    assert summary.report.read_text().startswith("<!doctype html>")


def test_run_with_ugly_names_gets_each_file_through(bench: Bench) -> None:
    keys = [
        "a b/1.png",
        "c/1.png",
        'quote".png',
        "new\nline.png",
        "日本/写真.png",
        "~~.png",
        "a~~b.png",
        "-x.png",
        ".y.png",
    ]
    for number, key in enumerate(keys):
        make_image(bench.source / key, number)
    summary = run_all(bench.staged())
    assert sorted(map(str, column(summary.folder / "results.parquet", "source_key"))) == sorted(keys)
    assert {decode_name(str(name)) for name in column(summary.folder / "results.parquet", "file")} == set(keys)


def test_run_with_bad_files_ends_each_with_its_reason(bench: Bench) -> None:
    make_images(bench.source, SHARDED)
    (bench.source / "text.jpg").write_text("no picture")
    (bench.source / "empty.jpg").touch()
    with (bench.source / "huge.png").open("wb") as file:
        file.truncate(20 * 1024 * 1024 + 1)
    (bench.source / "notes.txt").write_text("left alone")
    summary = run_all(bench.staged())
    assert (summary.processed, summary.failed, summary.rejected) == (SHARDED, 0, 3)
    failures = pq.read_table(summary.folder / "failures.parquet").to_pylist()
    assert {row["source_key"]: (row["state"], row["step"]) for row in failures} == dict.fromkeys(
        ("empty.jpg", "huge.png", "text.jpg"), ("rejected", "stage")
    )
    assert all(row["reason"] for row in failures)


def test_run_of_which_no_file_is_an_image_says_why(bench: Bench) -> None:
    (bench.source / "text.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"none of the 1 files can be processed.*not an image"):
        bench.staged()
    assert list((bench.runs / ".staging").iterdir()) == []


def test_finished_run_is_found_by_the_same_request_only(bench: Bench) -> None:
    make_images(bench.source, 2)
    summary = run_all(bench.staged())
    assert find_finished(bench.target()).finished() == summary
    assert find_finished(bench.target(rerun="again")).finished() is None
    assert find_finished(bench.target(parameters={"tolerance": 3})).finished() is None
    make_image(bench.source / "new.png", 9)
    assert find_finished(bench.target()).finished() is None


def test_staging_again_keeps_the_run_folder(bench: Bench) -> None:
    make_images(bench.source, 2)
    first = bench.staged()
    before = first.folder.lock_file.read_text()
    assert bench.staged().folder.root == first.folder.root
    assert first.folder.lock_file.read_text() == before


def test_ingest_leaves_out_a_file_that_changed_after_staging(bench: Bench, server: ServerClient) -> None:
    images = make_images(bench.source, SHARDED)
    run = bench.staged()
    images[3].write_bytes(images[3].read_bytes() + b"more")
    images[7].unlink()
    summary = run_all(run)
    assert (summary.processed, summary.failed) == (SHARDED - 2, 2)
    reasons = {row["source_key"]: row["reason"] for row in pq.read_table(run.folder.failures).to_pylist()}
    assert reasons[images[3].name] == "changed after it was staged"
    assert reasons[images[7].name].startswith("cannot be read any more")
    assert len(names_in_batch(server, run.remote_id)) == SHARDED - 2


def test_ingest_of_a_handful_leaves_out_a_changed_file(bench: Bench) -> None:
    images = make_images(bench.source, 3)
    run = bench.staged()
    os.utime(images[1], (1, 1))
    assert (run_all(run).processed, reconciled(run)) == (2, [images[1].name])


def reconciled(run) -> list[str]:
    return [failure.source_key for failure in reconcile(run, Exported.model_validate(exported_record(run)))[1]]


def exported_record(run) -> dict[str, object]:
    entry = run.journal.confirmed("export", "record")
    assert entry is not None
    return dict(entry["record"])


def test_ingest_settles_a_shard_that_arrived_without_a_record(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 300)
    run = bench.staged()
    ingest(run, 300)
    puts = len(server.shards(run.remote_id))
    # As after a kill between the PUT's answer and its confirmation: the first shard's line and all later ones are lost.
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"done"' not in line or '"limits"' in line]
    run.folder.journal.write_text("".join(kept))
    again = bench.opened(run.target, run.folder)
    assert ingest(again, 300).sent == 300
    assert len(server.shards(run.remote_id)) == puts == 2
    assert len(names_in_batch(server, run.remote_id)) == 300


def test_ingest_sends_a_shard_that_never_arrived(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, SHARDED)
    run = bench.staged()
    run.journal.intend("ingest", "shard-000000")
    assert ingest(run, SHARDED).sent == SHARDED
    assert len(server.shards(run.remote_id)) == 1


def test_ingest_says_when_the_batch_is_gone(bench: Bench) -> None:
    make_images(bench.source, 2)
    run = bench.staged()
    run.journal.confirm("ingest", "limits", images=1, bytes=1 << 26)
    for part in ("shard-000000", "shard-000001"):
        run.journal.confirm("ingest", part, changed={})
    seconds = count()
    timing = Timing(clock=lambda: float(next(seconds)), sleep=lambda _: None)
    with pytest.raises(RunIncomplete, match=r"has no batch .* any more .*--rerun LABEL"):
        ingest(replace(run, timing=timing), 2)


def test_ingest_says_when_the_batch_has_lost_files(bench: Bench) -> None:
    make_images(bench.source, 2)
    run = bench.staged()
    run.journal.confirm("ingest", "limits", images=1, bytes=1 << 26)
    run.journal.confirm("ingest", "shard-000000", changed={})
    seconds = count()
    timing = Timing(clock=lambda: float(next(seconds)), sleep=lambda _: None)
    with pytest.raises(RunIncomplete, match=r"holds 1 of 2 files and gets no more.*--rerun LABEL"):
        ingest(replace(run, timing=timing), 2)


def test_quiet_counts_only_looks_at_a_batch_that_does_not_move(bench: Bench) -> None:
    make_images(bench.source, 1)
    now = iter([0.0, 0.1, 0.2, 1000.0, 1000.1, 1000.2, 1000.3])
    quiet = Quiet(replace(bench.staged(), timing=Timing(clock=lambda: next(now))))
    longest = bench.target().platform.pace.longest
    assert [quiet.seconds(BatchState(1)) for _ in range(3)] == pytest.approx([0, 0.1, 0.2])
    assert quiet.seconds(BatchState(1)) == pytest.approx(0.2 + longest)  # nobody could look in between
    assert quiet.seconds(BatchState(1, indexing=1)) == quiet.seconds(BatchState(1, indexing=1)) == 0
    assert quiet.seconds(BatchState(2)) == 0


def test_launch_attaches_to_the_job_that_is_there(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 2)
    run = bench.staged()
    ingest(run, 2)
    run.platform.processing.create(run.remote_id, describe_job(run), name="lost answer")
    assert launch(run).attached
    jobs = server.jobs("GET", "", params={"pageSize": "1000"}).json()["jobs"]
    assert [job["jobId"] for job in jobs].count(run.remote_id) == 1


def test_launch_refuses_a_job_that_does_something_else(bench: Bench, server: ServerClient) -> None:
    make_images(bench.source, 2)
    run = bench.staged()
    ingest(run, 2)
    body = job_body(run.remote_id, maxParallelTasks=1, specification={"workflowParameters": {"tolerance": 7}})
    assert server.jobs("POST", f"/{run.remote_id}", json=body).status_code == 200
    with pytest.raises(Conflict, match=r"does something else.*--rerun LABEL"):
        launch(run)


def test_agrees_bears_fields_that_the_platform_added() -> None:
    wanted = StagingBatchInput(batch_id="b").wire()
    assert agrees(wanted, wanted | {"region": "us"})
    assert not agrees(wanted, wanted | {"batchId": "other"})
    assert not agrees(wanted, None)


def test_wait_keeps_what_the_job_said(bench: Bench) -> None:
    make_images(bench.source, 4)
    run = bench.staged()
    ingest(run, 4)
    launch(run)
    assert wait(run).export_batch == f"{run.remote_id}-export"
    assert set(column(run.folder.job, "kind")) == {"stage", "task", "log"}


def test_wait_fails_with_the_reason_of_a_failed_job(bench: Bench) -> None:
    make_images(bench.source, 2)
    run = bench.staged(parameters={"color": "impossible"})
    ingest(run, 2)
    launch(run)
    with pytest.raises(JobFailed, match=r"color is not a color .2x.. After mending the cause, run the same command"):
        wait(run)


def test_export_fetches_nothing_twice(bench: Bench) -> None:
    make_images(bench.source, SHARDED)
    run = bench.staged()
    ingest(run, SHARDED)
    launch(run)
    finished = wait(run)
    export(run, finished)
    fetched = {path: path.stat().st_mtime_ns for path in run.folder.export.rglob("*") if path.is_file()}
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    run.folder.journal.write_text("".join(line for line in lines if not ('"export"' in line and '"record"' in line)))
    export(bench.opened(run.target, run.folder), finished)
    assert fetched == {path: path.stat().st_mtime_ns for path in run.folder.export.rglob("*") if path.is_file()}


def test_reconcile_names_files_without_result_and_reason(bench: Bench) -> None:
    make_images(bench.source, 8)
    run = bench.staged()
    run_all(run)
    table = pq.read_table(run.folder.results)
    pq.write_table(table.slice(2), run.folder.results)
    with pytest.raises(RunIncomplete, match=r"2 files have neither a result nor a reason: 'image-00000.png', 'image-0"):
        reconcile(run, Exported.model_validate(exported_record(run)))


def test_run_json_can_ask_for_the_run_again(bench: Bench) -> None:
    make_images(bench.source, 1)
    run = bench.staged(parameters={"color": "#00ff00", "tolerance": 5})
    lock = json.loads(run.folder.lock_file.read_text())
    assert lock["key"] == run.folder.key
    assert lock["command"].startswith(f"darkroom run {bench.source} --workflow minimal --platform {bench.url}")
    assert "--param 'color=#00ff00' --param tolerance=5" in lock["command"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "run/0"}'])
def test_damaged_run_json_is_told(tmp_path: Path, content: str) -> None:
    folder = RunFolder(tmp_path)
    folder.lock_file.write_text(content)
    with pytest.raises(LocalFault, match=r"run.json is damaged: pass --rerun LABEL"):
        read_lock(folder)
