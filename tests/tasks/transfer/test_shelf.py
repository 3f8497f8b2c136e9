from pathlib import Path

import pytest

from tasks.core.errors import LocalFault
from tasks.transfer.shelf import Shelf


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    return tmp_path / "run" / "export"


@pytest.fixture
def shelf(tmp_path: Path, shown: Path) -> Shelf:
    return Shelf(shown, tmp_path / "run" / ".aside")


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_part_that_is_put_by_comes_back(shelf: Shelf, shown: Path) -> None:
    shelf.show("one", ["a", "b"])
    (shown / "a" / "x").write_text("one a")
    (shown / "b" / "x").write_text("one b")
    shelf.clear("one", ["b"])
    assert texts(shown) == {"b/x": "one b"}
    shelf.show("one", ["a", "b"])
    assert texts(shown) == {"a/x": "one a", "b/x": "one b"}


def test_parts_of_two_batches_are_not_mixed_up(shelf: Shelf, shown: Path) -> None:
    for batch in ("one", "two", "one", "two"):
        shelf.show(batch, ["a"])
        with (shown / "a" / "x").open("a") as file:
            file.write(batch)
        shelf.clear(batch)
        assert texts(shown) == {}
    shelf.show("one", ["a"])
    assert texts(shown) == {"a/x": "oneone"}


def test_shown_parts_have_a_folder_each(shelf: Shelf, shown: Path) -> None:
    shelf.clear("one", ["a"])
    shelf.show("one", ["a", "b"])
    assert sorted(path.name for path in shown.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("batch", ["../../out", "/out", "a/b", "\0", ".."])
def test_id_of_a_batch_leads_nowhere_else(shelf: Shelf, shown: Path, tmp_path: Path, batch: str) -> None:
    shelf.show(batch, ["a"])
    (shown / "a" / "x").write_text("x")
    shelf.clear(batch)
    assert len(list((shown.parent / ".aside").glob("*/a/x"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_folder_that_cannot_be_made_is_a_local_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalFault):
        Shelf(tmp_path / "file" / "export", tmp_path / ".aside").show("one", ["a"])
