import os
from pathlib import Path

import pytest

from tasks.transfer.members import are_there, has_size, note_members
from tasks.transfer.unpack import UnpackedFile


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """Two files that were unpacked, written down."""
    files = []
    for name, content in (("a b/日本.jpg", b"one"), ("empty", b"")):
        path = tmp_path / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(UnpackedFile(name, path, len(content)))
    note_members(tmp_path / "notes" / "note", files)
    return tmp_path / "notes" / "note"


def test_members_that_nobody_touched_are_there(note: Path, tmp_path: Path) -> None:
    (tmp_path / "part" / "other").write_bytes(b"of another archive")
    assert are_there(note, tmp_path / "part")


def test_member_that_has_vanished_is_not_there(note: Path, tmp_path: Path) -> None:
    (tmp_path / "part" / "empty").unlink()
    assert not are_there(note, tmp_path / "part")


def test_member_of_another_size_is_not_there(note: Path, tmp_path: Path) -> None:
    (tmp_path / "part" / "a b/日本.jpg").write_bytes(b"on")
    assert not are_there(note, tmp_path / "part")


def test_members_without_a_note_or_with_a_damaged_one_are_not_there(note: Path, tmp_path: Path) -> None:
    note.write_text(note.read_text()[:-3])
    assert not are_there(note, tmp_path / "part")
    note.unlink()
    assert not are_there(note, tmp_path / "part")


def test_members_are_flushed_before_they_are_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[bool] = []
    sync = os.sync

    def watching() -> None:
        noted.append((tmp_path / "note").exists())
        sync()

    monkeypatch.setattr(os, "sync", watching)
    note_members(tmp_path / "note", [])
    assert noted == [False]
    assert are_there(tmp_path / "note", tmp_path)


def test_only_a_regular_file_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    found = [name for name in ("file", "link", "folder", "nothing", "file/x") if has_size(tmp_path / name, 2)]
    assert found == ["file"]
