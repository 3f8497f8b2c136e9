import os
from pathlib import Path

import pytest

from tasks.core.files import appearing, write_text


def test_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with appearing(target) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [*tmp_path.iterdir()] == [target]


def test_file_stays_as_it_was_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), appearing(target) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"


def test_leftover_of_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_text("a long leftover")
    write_text(tmp_path / "a.txt", "日本")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "日本"


def test_file_is_flushed_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, flushed, sync = tmp_path / "a.txt", [], os.fsync

    def watching(handle: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{handle}").readlink(), target.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watching)
    write_text(target, "x")
    assert flushed == [(tmp_path / "a.txt.part", False), (tmp_path, True)]
