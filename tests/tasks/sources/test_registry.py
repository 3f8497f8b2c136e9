from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.sources.local import LocalSource
from tasks.sources.registry import holds_secret, open_source


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
    assert list(open_source(str(tmp_path), (str(tmp_path / "runs"),)).list()) == []


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


def test_source_may_stand_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOS", str(tmp_path))
    assert root_of("env:PHOTOS") == tmp_path.resolve()
    monkeypatch.setenv("ROUND", "env:ROUND")
    for name in ("NO_SUCH_VARIABLE", "ROUND", ""):
        with pytest.raises(BadInput, match=f"env:{name}: set the environment variable"):
            open_source(f"env:{name}")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://host/references.jsonl?X-Amz-Signature=0", True),
        ("HTTP://127.0.0.1:1/references.jsonl?sig=0", True),
        ("https://user:secret@host/references.jsonl", True),
        ("https://host/by@name.jsonl", False),
        ("https://host/references.jsonl", False),
        ("s3://bucket/a?.jpg", False),
        ("photos?", False),
    ],
)
def test_url_that_may_be_signed_is_told(url: str, secret: bool) -> None:
    assert holds_secret(url) is secret


def test_single_file_is_a_source_of_its_own(tmp_path: Path) -> None:
    for name in ("a[1].dat", "b.dat"):
        (tmp_path / name).touch()
    source = open_source(str(tmp_path / "a[1].dat"))
    assert ([item.key for item in source.list()], source.by_extension) == (["a[1].dat"], False)


def test_folder_named_like_a_pattern_is_taken_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "day [1]").mkdir()
    (tmp_path / "day [1]" / "a.jpg").touch()
    (tmp_path / "day 1").mkdir()
    (tmp_path / "day 1" / "b.jpg").touch()
    assert [item.key for item in open_source(str(tmp_path / "day [1]")).list()] == ["a.jpg"]
    assert [item.key for item in open_source(str(tmp_path / "day [0-9]") + "/").list()] == ["day 1/b.jpg"]


@pytest.mark.parametrize("url", ["az://photos?sv=1&sig=SECRET", "s3://ph otos", "gs://a#b"])
def test_bucket_that_cannot_be_one_is_bad_input_and_not_shown(url: str) -> None:
    with pytest.raises(BadInput, match="no bucket has the name") as caught:
        open_source(url)
    assert "SECRET" not in str(caught.value)
