from pathlib import Path

import pytest

from deployments.batch_server.data_folder import DataFolderError, hold_data_folder, kept_secret


def test_secret_is_the_same_each_time_and_private(tmp_path: Path) -> None:
    first = kept_secret(tmp_path / "secret")
    assert kept_secret(tmp_path / "secret") == first
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_secret_file_that_is_empty_lets_no_one_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(DataFolderError, match="is empty"):
        kept_secret(tmp_path / "secret")


def test_folder_is_held_once_and_free_afterwards(tmp_path: Path) -> None:
    with hold_data_folder(tmp_path / "data"), pytest.raises(DataFolderError, match="another server"):
        hold_data_folder(tmp_path / "data").__enter__()
    with hold_data_folder(tmp_path / "data"):
        pass


def test_folder_that_is_made_is_its_owners_alone_and_one_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o755)
    for name, mode in (("new", 0o700), ("old", 0o755)):
        with hold_data_folder(tmp_path / name):
            assert (tmp_path / name).stat().st_mode & 0o777 == mode
