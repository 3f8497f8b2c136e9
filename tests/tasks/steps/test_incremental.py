import fcntl
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault, RunIncomplete
from tasks.core.identity import ResultOptions
from tasks.core.progress import Silent
from tasks.core.records import NothingNew
from tasks.results.tables import Failure
from tasks.roboflow_api.retrying import Timing
from tasks.sources.local import LocalSource
from tasks.steps import context
from tasks.steps.conclude import remember
from tasks.steps.incremental import INGEST, SCHEMA, advance, only_new, state_name
from tasks.steps.runs import STATES
from tasks.steps.stage import stage
from tests.images import make_image, make_images
from tests.tasks.steps.conftest import Bench, run_all
from tests.tasks.steps.shop import KEYS, NAME, NOON, Shop
from tests.waiting import wait_for

ASKED: dict[str, Any] = {
    "source": "s3://b/photos",
    "workflow_id": "audit",
    "workflow_digest": "d",
    "parameters": {"tolerance": 3},
    "options": ResultOptions(),
    "workspace": "roboflow/w",
}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def failed(name: str, step: str) -> Failure:
    return Failure(name, name, "rejected" if step == "stage" else "failed", step, "a reason")


def touch(image: Path, seconds: int) -> None:
    os.utime(image, (seconds, seconds))


def test_name_of_the_step_is_the_steps_own() -> None:
    assert context.INGEST == INGEST


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "s3://b/other"},
        {"workflow_id": "other"},
        {"workflow_digest": None},
        {"parameters": {"tolerance": 4}},
        {"options": ResultOptions(keep_images=False)},
        {"workspace": "embedded/w"},
    ],
)
def test_state_name_tells_what_gives_other_results(changed: dict[str, Any]) -> None:
    assert state_name(**ASKED) != state_name(**(ASKED | changed))
    assert state_name(**ASKED) == state_name(**ASKED)


def test_state_name_of_a_folder_holds_wherever_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    absolute = state_name(**(ASKED | {"source": str(tmp_path / "photos")}))
    monkeypatch.chdir(tmp_path)
    assert {state_name(**(ASKED | {"source": name})) for name in ("photos", "./photos/", "photos/.")} == {absolute}
    monkeypatch.chdir(tmp_path / "photos")
    assert state_name(**(ASKED | {"source": "photos"})) != absolute


def test_everything_is_new_without_a_state(shop: Shop) -> None:
    make_images(shop.source, 3)
    assert len(shop.new()) == 3


def test_processed_files_are_not_new(shop: Shop) -> None:
    make_images(shop.source, 3)
    shop.remember(shop.run(0))
    with only_new(LocalSource(shop.source), shop.states, NAME) as source:
        for _ in range(2):
            assert (list(source.list()), source.known) == ([], 3)
    make_image(shop.source / "new.png", 9)
    assert shop.new() == ["new.png"]
    shop.remember(shop.run(1))
    assert shop.new() == []
    assert {key: run for key, (run, _time) in shop.rows().items()} == {
        "image-00000.png": KEYS[0],
        "image-00001.png": KEYS[0],
        "image-00002.png": KEYS[0],
        "new.png": KEYS[1],
    }


def test_changed_file_is_new_and_takes_its_old_place(shop: Shop) -> None:
    images = make_images(shop.source, 3)
    shop.remember(shop.run(0))
    touch(images[1], 1000)
    assert shop.new() == [images[1].name]
    shop.remember(shop.run(1))
    assert shop.new() == []
    assert shop.rows()[images[1].name] == (KEYS[1], NOON + timedelta(hours=1))
    assert len(shop.rows()) == 3


def test_files_that_could_not_be_sent_are_tried_again(shop: Shop) -> None:
    images = make_images(shop.source, 4)
    steps = ("stage", "ingest", "wait")
    shop.remember(shop.run(0, [failed(image.name, step) for image, step in zip(images, steps, strict=False)]))
    assert shop.new() == [images[1].name]


def test_changed_file_that_could_not_be_sent_stays_new(shop: Shop) -> None:
    (image,) = make_images(shop.source, 1)
    shop.remember(shop.run(0))
    touch(image, 1000)
    shop.remember(shop.run(1, [failed(image.name, "ingest")]))
    assert shop.new() == [image.name]
    assert shop.rows()[image.name][0] == KEYS[0]


def test_rejected_file_with_a_name_that_is_no_text_is_remembered(shop: Shop) -> None:
    make_images(shop.source, 1)
    (shop.source / os.fsdecode(b"broken-\xff.png")).write_bytes(b"x")
    run = shop.run(0)
    shop.remember(run)
    assert shop.new() == []


def test_advance_again_changes_nothing(shop: Shop) -> None:
    make_images(shop.source, 3)
    run = shop.run(0)
    shop.remember(run)
    before = pq.read_table(shop.runs / STATES / NAME)
    shop.remember(run)
    assert pq.read_table(shop.runs / STATES / NAME).equals(before)


def test_file_that_is_again_what_it_was_is_not_new_for_ever(shop: Shop) -> None:
    (image,) = make_images(shop.source, 1)
    os.utime(image, (1, 1))
    first = shop.run(0)
    shop.remember(first)
    os.utime(image, (2, 2))
    shop.remember(shop.run(1))
    os.utime(image, (1, 1))
    assert shop.new() == [image.name]
    shop.remember(first, asked=NOON + timedelta(hours=2))  # the same listing is the same run
    assert shop.new() == []


def test_source_that_was_emptied_has_nothing_new(bench: Bench) -> None:
    images = make_images(bench.source, 2)
    run = bench.staged(only_new=True)
    run_all(run)
    remember(run)
    for image in images:
        image.unlink()
    assert stage(bench.target(only_new=True), Silent(), Timing()) == NothingNew(source=str(bench.source), known=0)


def test_new_files_that_are_all_rejected_are_nothing_new_and_told(bench: Bench) -> None:
    make_images(bench.source, 2)
    run = bench.staged(only_new=True)
    run_all(run)
    remember(run)
    (bench.source / "text.jpg").write_text("no picture")
    found = stage(bench.target(only_new=True), Silent(), Timing())
    assert found == NothingNew(source=str(bench.source), known=2, rejected=1)
    assert "1 new ones cannot be processed" in found.line()


def test_first_run_without_any_files_is_bad_input(bench: Bench) -> None:
    with pytest.raises(BadInput, match="no images in"):
        stage(bench.target(only_new=True), Silent(), Timing())


def test_earlier_run_does_not_take_back_what_a_later_one_did(shop: Shop) -> None:
    images = make_images(shop.source, 2)
    early = shop.run(0)
    touch(images[0], 1000)
    shop.remember(shop.run(1))
    shop.remember(early)
    assert shop.new() == []
    assert shop.rows()[images[0].name][0] == KEYS[1]


def test_advance_leaves_other_files_alone(shop: Shop) -> None:
    images = make_images(shop.source, 3)
    shop.remember(shop.run(0))
    images[0].unlink()
    make_image(shop.source / "new.png", 9)
    shop.remember(shop.run(1))
    assert len(shop.rows()) == 4


def test_state_does_not_advance_before_the_run_is_reconciled(shop: Shop) -> None:
    make_images(shop.source, 1)
    run = shop.run(0)
    run.summary.unlink()
    with pytest.raises(RunIncomplete, match=f"run {KEYS[0]} is not finished"):
        shop.remember(run)
    assert len(shop.new()) == 1


def test_runs_that_end_together_lose_nothing(shop: Shop) -> None:
    folders = []
    for number in range(3):
        for image in shop.source.iterdir():
            image.unlink()
        make_images(shop.source, 5, start=10 * number)
        folders.append(shop.run(number))
    threads = [threading.Thread(target=shop.remember, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(shop.rows()) == 15


def test_advance_waits_for_another_process(shop: Shop) -> None:
    make_images(shop.source, 1)
    run = shop.run(0)
    (shop.runs / STATES).mkdir()
    thread = threading.Thread(target=shop.remember, args=(run,))
    with (shop.runs / STATES / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        wait_for(lambda: _waiting_for_a_lock(), "the other one to wait")
        assert not (shop.runs / STATES / NAME).exists()
    thread.join(10)
    assert shop.new() == []


def _waiting_for_a_lock() -> bool:
    """Whether a thread of this process waits for a lock on a file."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(str(os.getpid()) in line for line in waiting)


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1junkPAR1"])
def test_damaged_state_is_told_and_kept(shop: Shop, content: bytes) -> None:
    make_images(shop.source, 1)
    run = shop.run(0)
    (shop.runs / STATES).mkdir()
    (shop.runs / STATES / NAME).write_bytes(content)
    for use in (shop.new, lambda: shop.remember(run)):
        with pytest.raises(LocalFault, match=f"{NAME} is damaged: remove it"):
            use()
    assert (shop.runs / STATES / NAME).read_bytes() == content


def test_state_of_another_version_is_told(shop: Shop) -> None:
    (shop.runs / STATES).mkdir(parents=True)
    newer = SCHEMA.with_metadata({"darkroom.schema": "state/2"})
    pq.write_table(newer.empty_table(), shop.runs / STATES / NAME)
    with pytest.raises(LocalFault, match="was written by another version: remove it"):
        shop.new()


def test_state_is_written_in_row_groups(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.steps.incremental.ROWS_PER_GROUP", 4)
    monkeypatch.setattr("tasks.steps.incremental._ROWS_AT_ONCE", 2)
    make_images(shop.source, 10)
    shop.remember(shop.run(0))
    with pq.ParquetFile(shop.runs / STATES / NAME) as file:
        assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [4, 4, 2]
        assert file.schema_arrow.metadata[b"darkroom.schema"] == b"state/1"
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_run_of_the_pipeline_advances_the_state(bench: Bench) -> None:
    make_images(bench.source, 3)
    (bench.source / "text.jpg").write_text("no picture")
    run = bench.staged(only_new=True)
    states = run.target.runs.states
    run_all(run)
    advance(run.folder, states, NAME, run.target.asked)
    with only_new(LocalSource(bench.source), states, NAME) as source:
        assert (list(source.list()), source.known) == ([], 4)
    assert isinstance(pq.read_schema(bench.runs / STATES / NAME), pa.Schema)
