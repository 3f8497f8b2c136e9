from pathlib import Path

import pytest

from deployments.batch_server.chunks import ChunkFolder
from deployments.batch_server.engine.interface import EngineFailure


def test_folder_of_which_images_are_missing_is_not_complete(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path, tmp_path / "jobs/j", "chunk-00000")
    (folder.fresh() / "results.jsonl").write_text('{"image": "a.jpg"}\n')
    with pytest.raises(EngineFailure, match="1 of 2 images"):
        folder.complete(2)
    assert not folder.is_complete
    assert list(folder.fresh().iterdir()) == []


def test_complete_folder_tells_results_failures_and_images(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path, tmp_path / "jobs/j", "chunk-00000")
    part = folder.fresh()
    (part / "results.jsonl").write_text('{"image": "a.jpg"}\n')
    (part / "failures.jsonl").write_text('{"image": "b.jpg", "reason": "no"}\n')
    (part / "images/a.jpg/list").mkdir(parents=True)
    (part / "images/a.jpg/list/0.jpg").write_bytes(b"x")
    folder.complete(2)
    record = folder.record()
    assert (record.processed, record.failures) == (1, ({"image": "b.jpg", "reason": "no"},))
    assert [(file.part, file.name) for file in record.files] == [
        ("results", "chunk-00000.jsonl"),
        ("images", "chunk-00000.tar.gz"),
    ]
    assert all((tmp_path / file.path).stat().st_size == file.size for file in record.files)
