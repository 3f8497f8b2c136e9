from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.sources.local import LocalSource
from tasks.sources.registry import open_source


def root_of(url: str) -> Path:
    source = open_source(url)
    assert isinstance(source, LocalSource)
    return source.root


def test_source_may_be_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "day 1").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in ("day 1", "./day 1/", str(tmp_path / "day 1"), "~/day 1"):
        assert root_of(url) == (tmp_path / "day 1").resolve()


def test_source_may_be_a_file_url(tmp_path: Path) -> None:
    folder = tmp_path / "day 1 #?é"
    folder.mkdir()
    assert root_of(folder.as_uri()) == folder
    assert root_of(folder.as_uri().replace("file://", "FILE://localhost")) == folder


def test_source_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/a.jpg").touch()
    assert list(open_source(str(tmp_path), (tmp_path / "runs",)).list()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "source is empty"),
        ("s4://bucket/images", "unknown source scheme s4://: .*file://"),
        ("file://photos", "three slashes"),
        ("file://", "three slashes"),
        ("file:///no/such/folder", "does not exist"),
        ("~no-such-user/photos", "unknown user"),
        ("no-such-folder", "does not exist"),
        ("   ", "does not exist"),
    ],
)
def test_source_that_cannot_be_used_is_bad_input(url: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        open_source(url)
