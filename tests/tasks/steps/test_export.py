"""What is exported, and what is not fetched again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, LocalFault
from tasks.core.options import ExportChoice
from tasks.core.records import Finished
from tasks.steps.context import Run
from tasks.steps.export import export
from tasks.steps.ingest import ingest
from tasks.steps.launch import launch
from tasks.steps.wait import wait
from tests.images import make_images
from tests.tasks.steps.conftest import Bench

IMAGES = 3
EXPORTED = {"aggregated-results", "results-archives", "images-archives"}


@pytest.fixture
def run(bench: Bench) -> Run:
    """A run whose job is through."""
    make_images(bench.source, IMAGES)
    run = bench.staged()
    ingest(run, IMAGES)
    launch(run)
    wait(run)
    return run


@pytest.fixture
def finished(run: Run) -> Finished:
    return wait(run)


@pytest.fixture
def fetched(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Downloads, by path."""
    transport, counted = run.platform.staging.transport, Counter[str]()
    fetch = transport.fetch

    def counting(url: str, headers: dict[str, str]) -> object:
        counted[url.partition("?")[0]] += 1
        return fetch(url, headers)

    monkeypatch.setattr(transport, "fetch", counting)
    yield counted


def choosing(run: Run, stage: str = "", *parts: str) -> Run:
    request = run.target.request.model_copy(update={"export": ExportChoice(stage=stage, parts=list(parts))})
    return replace(run, target=replace(run.target, request=request))


def parts(run: Run) -> set[str]:
    return {path.name for path in run.folder.export.iterdir()}


def images(run: Run) -> list[object]:
    return list(pq.read_table(run.folder.results)["copy"].to_pylist())


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def forget_record(run: Run) -> None:
    """As after a kill before the step was through."""
    lines = run.folder.journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if (entry := json.loads(line))["step"] != "export" or entry["part"] != "record"]
    run.folder.journal.write_text("".join(kept))


def test_wait_tells_the_output_of_every_stage(run: Run, finished: Finished) -> None:
    found = {output.name: output.batch for output in finished.outputs}
    assert found == {stage: f"{run.remote_id}-{stage}" for stage in ("processing", "export")}


def test_export_takes_the_export_stage_by_itself(run: Run, finished: Finished) -> None:
    exported = export(run, finished)
    assert (exported.batch, exported.rows, parts(run)) == (f"{run.remote_id}-export", IMAGES, EXPORTED)
    assert (exported.refused, exported.refused_files) == (0, 0)
    assert all((run.folder.root / str(path)).is_file() for path in images(run))


@pytest.mark.parametrize("stage", ["processing", "PROCESSING"])
def test_export_takes_the_stage_that_is_chosen(run: Run, finished: Finished, stage: str) -> None:
    exported = export(choosing(run, stage), finished)
    assert (exported.batch, exported.rows, parts(run)) == (f"{run.remote_id}-processing", IMAGES, {"results", "images"})
    assert all((run.folder.root / str(path)).is_file() for path in images(run))


def test_stage_is_found_by_its_id(run: Run, finished: Finished) -> None:
    named = tuple(output.model_copy(update={"name": f"the {output.name}"}) for output in finished.outputs)
    exported = export(choosing(run, "Processing"), finished.model_copy(update={"outputs": named}))
    assert exported.batch == f"{run.remote_id}-processing"


def test_choice_is_no_reason_to_fetch_again(run: Run, finished: Finished, fetched: Counter[str]) -> None:
    first = export(run, finished)
    processing = export(choosing(run, "processing"), finished)
    lines = export(choosing(run, "", "aggregated-results"), finished)
    assert (parts(run), lines.rows, lines.files) == ({"aggregated-results"}, IMAGES, 1)
    assert images(run) == [None] * IMAGES
    again = export(run, finished)
    assert (parts(run), len(images(run)), None in images(run)) == (EXPORTED, IMAGES, False)
    assert again.model_dump(exclude={"seconds"}) == first.model_dump(exclude={"seconds"})
    assert len(fetched) == first.files + processing.files
    assert set(fetched.values()) == {1}


def test_same_choice_is_exported_once(run: Run, finished: Finished, fetched: Counter[str]) -> None:
    chosen = choosing(run, "export", "aggregated-results", "images-archives")
    first = export(chosen, finished)
    fetched.clear()
    written = files(run.folder.root)
    same = choosing(run, "", "images-archives", "aggregated-results", "images-archives")
    assert export(same, finished) == first
    assert (written, sum(fetched.values())) == (files(run.folder.root), 0)


def test_results_that_are_only_in_archives_are_unpacked(run: Run, finished: Finished, fetched: Counter[str]) -> None:
    export(run, finished)
    archives = list((run.folder.export / "results-archives").glob("*.tar.gz"))
    assert archives
    fetched.clear()
    assert export(choosing(run, "", "results-archives"), finished).rows == IMAGES
    assert len(list((run.folder.export / "results-archives").glob("*/results.json"))) == IMAGES
    assert not any(archive.exists() for archive in archives)
    assert export(run, finished).rows == IMAGES
    assert sum(fetched.values()) == 0


def test_choice_that_was_cut_short_leaves_no_mixture(
    bench: Bench, run: Run, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, finished)

    def cut(url: str, headers: dict[str, str]) -> None:
        raise LocalFault("the power is gone")

    with monkeypatch.context() as patch, pytest.raises(LocalFault):
        patch.setattr(run.platform.staging.transport, "fetch", cut)
        export(choosing(run, "processing"), finished)
    again = bench.opened(run.target, run.folder)
    assert again.journal.confirmed("export", "record") is None
    assert export(again, finished).rows == IMAGES
    assert parts(run) == EXPORTED
    assert all((run.folder.root / str(path)).is_file() for path in images(run))


def test_unknown_stage_names_the_known_ones(run: Run, finished: Finished) -> None:
    with pytest.raises(BadInput, match=r"no stage 'upload' with an output: choose from processing, export"):
        export(choosing(run, "upload"), finished)


def test_unknown_part_names_the_known_ones(run: Run, finished: Finished) -> None:
    with pytest.raises(BadInput, match=r"no part 'pictures': choose from aggregated-results, results-archives, images"):
        export(choosing(run, "", "aggregated-results", "pictures"), finished)


def test_parts_without_results_are_refused_before_anything_is_fetched(
    run: Run, finished: Finished, fetched: Counter[str]
) -> None:
    with pytest.raises(BadInput, match=r"none of .* holds results: choose aggregated-results or results-archives as"):
        export(choosing(run, "", "images-archives"), finished)
    assert not fetched


def test_file_that_was_touched_is_fetched_again(
    bench: Bench, run: Run, finished: Finished, fetched: Counter[str]
) -> None:
    export(run, finished)
    fetched.clear()
    (lines,) = (run.folder.export / "aggregated-results").iterdir()
    whole = lines.read_bytes()
    lines.write_bytes(whole[:-5])
    archive = next((run.folder.export / "results-archives").iterdir())
    archive.unlink()
    forget_record(run)
    assert export(bench.opened(run.target, run.folder), finished).rows == IMAGES
    assert (lines.read_bytes(), archive.exists(), sum(fetched.values())) == (whole, True, 2)


def test_archive_of_which_a_member_is_gone_is_fetched_again(
    bench: Bench, run: Run, finished: Finished, fetched: Counter[str]
) -> None:
    export(run, finished)
    fetched.clear()
    gone = next((run.folder.export / "images-archives").glob("*/*"))
    gone.unlink()
    forget_record(run)
    export(bench.opened(run.target, run.folder), finished)
    assert (gone.exists(), sum(fetched.values())) == (True, 1)
