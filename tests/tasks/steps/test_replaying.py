import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, read_lock
from tasks.media.manifest import read_manifest, write_manifest
from tasks.media.versions import VersionIndex, version_of
from tasks.results.sameness import compare_rows
from tasks.sources.base import ReferenceSource
from tasks.sources.local import LocalSource
from tasks.steps.context import Run
from tasks.steps.mirror import Mirror
from tasks.steps.replaying import Replay, replay_request, same_files
from tasks.steps.runs import Runs
from tasks.steps.stage import stage
from tasks.transfer.places import LocalPlace
from tests.images import make_image, make_images
from tests.tasks.steps.conftest import Bench, run_all
from tests.tasks.steps.test_only_new import Remote


def fill(bench: Bench) -> list[Path]:
    """Images, one that the engine cannot read, one that is rejected, and what is no image."""
    images = make_images(bench.source / "day 1", 4)
    (bench.source / "bad.bmp").write_bytes(b"BM")
    (bench.source / "notes.txt").write_text("no image")
    (bench.source / "text.jpg").write_text("no picture")
    return images


def original(bench: Bench, **changes: Any) -> Run:
    run = bench.staged(**changes)
    run_all(run)
    return run


def replay_of(run: Run) -> Replay:
    return replay_request(run.folder, run.target.runs, run.target.request.runs)


def replayed(bench: Bench, run: Run) -> Run:
    """The replay of a run, staged."""
    return bench.staged(**replay_of(run).request.model_dump())


def test_replay_asks_for_the_same_but_for_what_comes_after_the_results(bench: Bench) -> None:
    fill(bench)
    wishes = {
        "parameters": {"color": "red"},
        "options": {"keep_images": False},
        "transfer": "upload",
        "rerun": "first",
        "only_new": True,
        "destination": str(bench.runs.parent / "published"),
        "export": {"parts": ["aggregated-results"]},
        "datasets": {"formats": ["coco"]},
        "expectations": {"max_failures": 9},
        "comparison": {"against": "previous"},
        "job": {"max_parallel_tasks": 2},
        "wait": {"deadline_hours": 3},
        "pilot": {"files": 2},
        "pilot_of": "0" * 16,
    }
    run = original(bench, workflow=str(tinted(bench)), **wishes)
    asked, replay = run.target.request, replay_of(run)
    key = run.folder.key
    kept = ("source", "workflow", "platform", "parameters", "options", "transfer", "credentials", "export", "job")
    expected = {name: getattr(asked, name) for name in kept}
    expected |= {"runs": str(bench.runs), "rerun": f"replay-{key}-1", "replays": key}
    assert replay.request == RunRequest(**expected)
    assert replay.warnings == ()
    assert expected.keys() | wishes.keys() == RunRequest.model_fields.keys()


def tinted(bench: Bench) -> Path:
    """The definition of a workflow that has a parameter."""
    file = bench.source.parent / "tinted.json"
    inputs = [{"type": "InferenceImage", "name": "image"}, {"type": "WorkflowParameter", "name": "color"}]
    file.write_text(json.dumps({"version": "1.0", "inputs": inputs, "steps": [], "outputs": []}))
    return file


def test_replay_of_an_unfinished_run_is_refused(bench: Bench) -> None:
    fill(bench)
    run = bench.staged()
    with pytest.raises(BadInput, match=f"run {run.folder.key} is not finished"):
        replay_of(run)


def test_replay_of_a_run_whose_lock_is_damaged_is_refused(bench: Bench) -> None:
    fill(bench)
    run = original(bench)
    lock = read_lock(run.folder)
    run.folder.lock_file.write_text(json.dumps(lock | {"request": None}))
    with pytest.raises(LocalFault, match=r"run\.json is damaged"):
        replay_of(run)


def test_replay_by_another_version_is_told(bench: Bench) -> None:
    fill(bench)
    run = original(bench)
    lock = read_lock(run.folder)
    run.folder.lock_file.write_text(json.dumps(lock | {"versions": {"darkroom": "0.0.1"}}))
    (warning,) = replay_of(run).warnings
    assert warning.startswith(f"run {run.folder.key} was made by darkroom 0.0.1, and this is ")


def test_replay_that_was_killed_is_gone_on_with_and_the_next_one_is_done_afresh(bench: Bench) -> None:
    fill(bench)
    run = original(bench)
    key = run.folder.key
    first = replayed(bench, run)
    assert replay_of(run).request.rerun == f"replay-{key}-1"
    assert replayed(bench, run).folder.key == first.folder.key
    run_all(first)
    assert replay_of(run).request.rerun == f"replay-{key}-2"
    assert replayed(bench, run).folder.key not in (first.folder.key, key)
    assert replay_of(first).request.rerun == f"replay-{first.folder.key}-1"


def test_replay_that_was_deleted_does_not_bring_an_older_one_back(bench: Bench) -> None:
    fill(bench)
    run = original(bench)
    first = replayed(bench, run)
    run_all(first)
    run_all(replayed(bench, run))
    shutil.rmtree(first.folder.root)
    assert replay_of(run).request.rerun == f"replay-{run.folder.key}-3"


def test_finished_replays_are_counted_where_runs_lie_in_a_bucket(bench: Bench, tmp_path: Path) -> None:
    fill(bench)
    run = original(bench)
    run_all(replayed(bench, run))
    place = LocalPlace(bench.runs)
    elsewhere = Runs(tmp_path / "machine", place, Mirror(place))
    assert replay_request(run.folder, elsewhere, "s3://b/runs").request.rerun == f"replay-{run.folder.key}-2"


def test_replay_gives_the_same_results(bench: Bench) -> None:
    images = fill(bench)
    run = original(bench)
    make_image(bench.source / "new.png", 99)  # is no part of it
    again = replayed(bench, run)
    assert isinstance(again.target.source, ReferenceSource) is False
    run_all(again)
    locks = [read_lock(one.folder) for one in (run, again)]
    assert locks[0]["identity"]["manifest_digest"] == locks[1]["identity"]["manifest_digest"]
    rows = [list(read_manifest(one.folder.manifest)) for one in (run, again)]
    assert rows[0] == rows[1]
    assert {row.state for row in rows[0]} == {"staged", "rejected"}
    sameness = compare_rows(run.folder.root, again.folder.root)
    assert (sameness.identical, sameness.same) == (True, len(images) + 2)
    assert again.target.replay_note == ""


def test_replay_that_gives_other_results_is_told(bench: Bench) -> None:
    images = fill(bench)
    run = original(bench)
    again = replayed(bench, run)
    moment = images[2].stat()
    content = bytearray(images[2].read_bytes())
    content[-1] ^= 1
    images[2].write_bytes(content)  # behind the back of the listing, which shows size and time alone
    os.utime(images[2], ns=(moment.st_atime_ns, moment.st_mtime_ns))
    run_all(again)
    sameness = compare_rows(run.folder.root, again.folder.root)
    assert (sameness.different, sameness.only_before, sameness.only_now) == (1, 0, 0)
    assert "sha256 '" in sameness.examples[0]
    assert "copy 'sha256:" in sameness.examples[0]


def test_replay_of_an_incremental_run_takes_that_runs_files(bench: Bench) -> None:
    make_images(bench.source, 3)
    run = bench.staged(only_new=True)
    run_all(run)
    make_images(bench.source, 3, start=3)
    again = replayed(bench, run)
    assert [row.key for row in read_manifest(again.folder.manifest)] == [f"image-{n:05}.png" for n in range(3)]
    assert again.target.request.only_new is False


def test_files_that_changed_or_are_gone_are_named(bench: Bench) -> None:
    images = fill(bench)
    run = original(bench)
    request = replay_of(run).request.model_dump()
    os.utime(images[1], (1, 1))
    images[3].unlink()
    (bench.source / "text.jpg").unlink()
    target = bench.target(**request)
    with pytest.raises(BadInput) as refused:
        stage(target, Silent(), bench.timing)
    text = str(refused.value)
    assert f"run {run.folder.key} cannot be replayed: of its 6 files in {bench.source}" in text
    assert "1 is changed ('day 1/image-00001.png') and 2 are missing ('day 1/image-00003.png', 'text.jpg');" in text
    assert len([folder for folder in bench.runs.iterdir() if RunFolder(folder).manifest.exists()]) == 1


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_one_file_that_is_not_the_same_keeps_a_run_from_being_replayed(bench: Bench, what: str) -> None:
    image = make_images(bench.source, 2)[1]
    run = original(bench)
    if what == "changed":
        os.utime(image, (1, 1))
    else:
        image.unlink()
    with pytest.raises(BadInput, match=rf"1 is {what} \('image-00001.png'\); run its command again"):
        list(bench.target(**replay_of(run).request.model_dump()).source.list())


def test_long_lists_of_files_are_cut(bench: Bench) -> None:
    images = make_images(bench.source, 17)
    run = original(bench)
    for image in images[:8]:
        image.unlink()
    for image in images[8:15]:
        os.utime(image, (1, 1))
    with pytest.raises(BadInput) as refused:
        list(bench.target(**replay_of(run).request.model_dump()).source.list())
    text = str(refused.value)
    assert "7 are changed ('image-00008.png'" in text
    assert "'image-00012.png', 2 more) and 8 are missing ('image-00000.png'" in text
    assert "'image-00004.png', 3 more);" in text


def test_files_are_the_same_at_every_listing(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    for name in ("a.png", "b.png", odd):
        (tmp_path / name).write_bytes(b"x")
    source = LocalSource(tmp_path)
    write_manifest(source, tmp_path / "manifest.parquet", Silent())
    (tmp_path / "c.png").write_bytes(b"x")
    with VersionIndex() as versions:
        for row in read_manifest(tmp_path / "manifest.parquet"):
            versions.add(row.key, version_of(row.item()))
        same = same_files(source, versions, files=3, key="k")
        assert (same.url, same.is_local, same.by_extension) == (source.url, True, True)
        for _ in range(2):
            assert [item.key for item in same.list()] == ["a.png", "b.png", odd]


def test_references_of_a_replay_stay_references() -> None:
    with VersionIndex() as versions:
        versions.add("a", "")
        same = same_files(Remote(["a", "b"]), versions, files=1, key="k")
        assert isinstance(same, ReferenceSource)
        assert list(same.presign(same.list(), 5)) == ["https://host/a?for=5"]
        assert (same.endpoint(), same.longest_lifetime()) == ("https://host", 60.0)
        assert (same.pins_versions, same.only_by_reference, same.by_extension) == (True, True, False)


def test_query_cannot_be_replayed(bench: Bench) -> None:
    with pytest.raises(BadInput, match="run 0123 cannot be replayed: nobody can say whether a query"):
        bench.target(source="roboql:tag:night", replays="0123")


def test_replay_of_no_run_is_refused(bench: Bench) -> None:
    fill(bench)
    with pytest.raises(BadInput, match=f"no run {'1' * 16} in {bench.runs} that could be replayed"):
        bench.target(replays="1" * 16)


def test_workflow_that_changed_since_is_told(bench: Bench) -> None:
    fill(bench)
    run = original(bench)
    request = replay_of(run).request.model_dump()
    key, lock = run.folder.key, read_lock(run.folder)
    for digest, note in (
        ("0" * 64, f"workflow minimal has changed since run {key}: the results may differ by that"),
        (None, f"{bench.url} does not show workflow minimal: it may have changed since run {key}"),
    ):
        identity = lock["identity"] | {"workflow_digest": digest}
        run.folder.lock_file.write_text(json.dumps(lock | {"identity": identity}))
        assert bench.target(**request).replay_note == note


def test_run_that_lies_in_a_bucket_is_replayed_on_another_machine(s3, bench: Bench) -> None:
    for image in make_images(bench.source, 2):
        s3.put(f"photos/{image.name}", image.read_bytes())
    places = {"source": f"{s3.url}/photos", "runs": f"{s3.url}/runs"}
    run = bench.staged(**places)
    run_all(run)
    mirror = run.target.runs.mirror
    assert mirror is not None
    mirror.push(run.folder)
    request = replay_of(run).request
    elsewhere = replace(run.target.runs, folder=bench.runs)
    assert replay_request(run.folder, elsewhere, places["runs"]).request == request
    target = bench.target(**request.model_dump())
    staged = stage(replace(target, runs=elsewhere), Silent(), bench.timing)
    assert isinstance(staged, Staged)
    again = bench.opened(target, RunFolder(staged.folder))
    run_all(again)
    assert compare_rows(run.folder.root, again.folder.root).identical
