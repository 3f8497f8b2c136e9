"""A finished run that is asked for another part of its output: what stands until then, and what goes with it."""

from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.core.options import DatasetOptions, ExportChoice
from tasks.core.progress import Silent
from tasks.core.run_folder import RunFolder
from tasks.steps.datasets import make_datasets
from tasks.steps.judging import finished_as_asked
from tasks.steps.mirror import Mirror
from tasks.steps.publish import publish
from tasks.transfer.places import LocalPlace
from tests.images import make_images
from tests.tasks.steps.conftest import Bench, run_all

SOME = ExportChoice(parts=["aggregated-results"])
WRONG = ExportChoice(parts=["no-such-part"])


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_part_that_is_not_there_leaves_the_finished_run_as_it_is(bench: Bench) -> None:
    make_images(bench.source, 2)
    summary = run_all(bench.staged())
    with pytest.raises(BadInput, match="no-such-part"):
        run_all(bench.staged(export=WRONG))
    assert finished_as_asked(bench.staged()) == summary


def test_another_export_takes_the_datasets_of_the_old_one_with_it(bench: Bench) -> None:
    make_images(bench.source, 2)
    run = bench.staged(datasets=DatasetOptions(formats=["coco"]))
    run_all(run)
    make_datasets(run, Silent())
    again = bench.staged(export=SOME)
    run_all(again)
    assert not again.folder.datasets.exists()


def test_another_export_replaces_what_was_published(bench: Bench, tmp_path: Path) -> None:
    make_images(bench.source, 40)
    out = LocalPlace(tmp_path / "out")
    run = bench.staged()
    run_all(run)
    publish(run.folder, out, Silent())
    place = tmp_path / "out" / run.folder.key
    assert any(name.startswith("export/images-archives/") for name in names(place))
    again = bench.staged(export=SOME)
    run_all(again)
    publish(again.folder, out, Silent())
    exported = {name for name in names(place) if name.startswith("export/")}
    assert {name.split("/")[1] for name in exported} == {"aggregated-results"}
    assert (place / "summary.parquet").read_bytes() == again.folder.summary.read_bytes()


def test_another_export_takes_the_summary_out_of_the_bucket_before_its_files(bench: Bench, tmp_path: Path) -> None:
    make_images(bench.source, 40)
    mirror = Mirror(LocalPlace(tmp_path / "bucket"))
    run = bench.staged()
    run_all(run)
    mirror.push(run.folder)
    there = RunFolder(tmp_path / "bucket" / run.folder.key)
    assert there.summary.exists()
    again = bench.staged(export=SOME)
    run_all(again)
    again.folder.summary.unlink()  # as after a kill just before the end
    mirror.push(again.folder)
    assert not there.summary.exists()
    assert {name.split("/")[1] for name in names(there.root) if name.startswith("export/")} == {"aggregated-results"}
    assert not mirror.pull(again.folder)


def test_half_written_dataset_is_neither_published_nor_mirrored(bench: Bench, tmp_path: Path) -> None:
    make_images(bench.source, 1)
    run = bench.staged()
    run_all(run)
    for name in (".coco.part/dataset/images/half.png", "coco/annotations.json"):
        path = run.folder.datasets / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
    publish(run.folder, LocalPlace(tmp_path / "out"), Silent())
    Mirror(LocalPlace(tmp_path / "bucket")).push(run.folder)
    for place in ("out", "bucket"):
        there = {name for name in names(tmp_path / place / run.folder.key) if "datasets/" in name}
        assert there == {"datasets/coco/annotations.json"}
