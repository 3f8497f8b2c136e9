import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput
from tasks.core.options import DatasetOptions
from tasks.core.progress import Silent
from tasks.results.exporters.pictures import GONE
from tasks.steps.context import Run
from tasks.steps.datasets import make_datasets
from tests.images import make_images
from tests.tasks.steps.conftest import Bench, run_all

IMAGES = 5


def asking(run: Run, **wishes: Any) -> Run:
    request = run.target.request.model_copy(update={"datasets": DatasetOptions(**wishes)})
    return replace(run, target=replace(run.target, request=request))


def finished(bench: Bench, **changes: object) -> Run:
    run = bench.staged(**changes)
    run_all(run)
    return run


def test_every_format_is_written_beside_the_tables(bench: Bench) -> None:
    make_images(bench.source, IMAGES)
    run = finished(bench)
    wanted = ["coco", "yolo", "voc", "csv", "jsonl"]
    written = make_datasets(asking(run, formats=wanted), Silent())
    assert [dataset.format for dataset in written] == wanted
    assert sorted(path.name for path in run.folder.datasets.iterdir()) == sorted(wanted)
    predictions = pq.read_metadata(run.folder.predictions).num_rows
    assert {(dataset.images, dataset.predictions) for dataset in written} == {(IMAGES, predictions)}
    assert all(dataset.fresh for dataset in written)


def test_dataset_that_is_there_is_not_written_again(bench: Bench) -> None:
    make_images(bench.source, IMAGES)
    run = asking(finished(bench), formats=["coco"], zipped=True)
    (first,) = make_datasets(run, Silent())
    before = first.path.stat().st_mtime_ns
    (again,) = make_datasets(run, Silent())
    assert (again.fresh, again.path, again.path.stat().st_mtime_ns) == (False, first.path, before)
    (other,) = make_datasets(asking(run, formats=["coco"], zipped=True, validation=0.5), Silent())
    assert other.fresh


@pytest.mark.parametrize("images", ["link", "copy"])
def test_images_of_a_folder_lie_in_the_dataset(bench: Bench, images: str) -> None:
    originals = make_images(bench.source, IMAGES)
    run = finished(bench)
    make_datasets(asking(run, formats=["coco"], images=images), Silent())
    there = sorted((run.folder.datasets / "coco" / "images").rglob("*.png"))
    assert [path.read_bytes() for path in there] == [path.read_bytes() for path in originals]
    assert {path.is_symlink() for path in there} == {images == "link"}


def test_image_that_changed_since_is_left_out_and_told(bench: Bench) -> None:
    originals = make_images(bench.source, IMAGES)
    run = finished(bench)
    originals[0].unlink()
    originals[1].write_bytes(originals[2].read_bytes() + b"more")
    (written,) = make_datasets(asking(run, formats=["yolo"], images="copy"), Silent())
    assert written.skipped[GONE] == 2
    assert written.images == IMAGES


def test_images_of_a_bucket_are_copied(s3: Any, bench: Bench, tmp_path: Path) -> None:
    originals = make_images(tmp_path / "originals", IMAGES)
    for path in originals:
        s3.put(f"photos/{path.name}", path.read_bytes())
    run = finished(bench, source=f"{s3.url}/photos", transfer="upload")
    (written,) = make_datasets(asking(run, formats=["coco"], images="copy"), Silent())
    copies = sorted((written.path / "images").rglob("*.png"))
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in originals]
    annotations = json.loads((written.path / "annotations" / "instances_train.json").read_text())
    assert len(annotations["images"]) == IMAGES


def test_images_of_a_bucket_cannot_be_linked(s3: Any, bench: Bench) -> None:
    s3.put("photos/a.png", b"an image")
    with pytest.raises(BadInput, match="are not on this machine: use --images copy"):
        bench.target(source=f"{s3.url}/photos", datasets=DatasetOptions(formats=["coco"], images="link"))
