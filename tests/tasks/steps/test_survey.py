"""A look at a source: what is found is written down, and nothing is sent."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tasks.core.errors import BadInput
from tasks.core.progress import Counting, Silent
from tasks.media.manifest import read_manifest
from tasks.sources.base import MediaObject
from tasks.sources.local import LocalSource
from tasks.steps.survey import Signing, survey
from tests.images import make_images


class Signed(LocalSource):
    """A folder whose files have URLs."""

    is_local = False
    pins_versions = True
    only_by_reference = False

    def endpoint(self) -> str:
        return "https://files.example.com"

    def longest_lifetime(self) -> float | None:
        return None

    def presign(self, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        return (f"https://files.example.com/{item.key}?for={seconds}" for item in items)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    make_images(tmp_path / "photos", 3)
    (tmp_path / "photos" / "empty.jpg").touch()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "broken too.jpg").write_bytes(b"no picture either")
    (tmp_path / "photos" / "notes.txt").write_text("left alone")
    return tmp_path / "photos"


def test_survey_counts_and_says_why_files_are_rejected(photos: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    progress = Counting(lambda _name, done, _total: seen.append(done), interval=0)
    found = survey(LocalSource(photos), tmp_path / "manifests", None, progress)
    assert (found.files, found.rejected, found.ignored, found.references) == (6, 3, 1, 0)
    assert found.bytes == sum(path.stat().st_size for path in photos.glob("image-*.png"))
    assert sorted(found.reasons.values()) == [1, 2]
    assert next(iter(found.reasons)).startswith("not an image")
    assert len(list(read_manifest(found.manifest))) == 6
    assert seen[-1] == 6


def test_survey_of_the_same_place_finds_the_same_manifest(photos: Path, tmp_path: Path) -> None:
    found = [survey(LocalSource(photos), tmp_path / "manifests", None, Silent()).manifest for _ in range(2)]
    assert found[0] == found[1]
    assert list((tmp_path / "manifests").iterdir()) == [found[0]]


def test_survey_writes_references_for_the_owner_alone(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "references.jsonl"
    file.write_text("older")
    file.chmod(0o644)
    found = survey(Signed(photos), tmp_path / "manifests", Signing(file, hours=2), Silent())
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert found.references == len(lines) == 5  # files elsewhere are not looked into, but an empty one is told
    assert lines[-1]["url"] == "https://files.example.com/image-00002.png?for=7200"
    assert "broken~20too.jpg" in {line["name"] for line in lines}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_survey_refuses_references_to_what_only_this_machine_reads(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--references"):
        survey(LocalSource(photos), tmp_path / "manifests", Signing(tmp_path / "file", 1), Silent())
    assert not (tmp_path / "manifests").exists()


def test_survey_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(BadInput, match="no images in"):
        survey(LocalSource(tmp_path / "photos"), tmp_path / "manifests", None, Silent())
    assert list((tmp_path / "manifests").iterdir()) == []


class Dotted(Signed):
    """A store with keys that no URL can hold."""

    def list(self) -> Iterator[MediaObject]:
        return iter([MediaObject(key, 1, "tag", None) for key in ("a/../b.png", "./c.png", "d..png", ".e/f.png")])


def test_key_that_no_url_can_hold_is_rejected(photos: Path, tmp_path: Path) -> None:
    found = survey(Dotted(photos), tmp_path / "manifests", None, Silent())
    assert [row.key for row in read_manifest(found.manifest, "rejected")] == ["a/../b.png", "./c.png"]
    assert "no URL can hold" in next(iter(found.reasons))


def test_references_cut_short_leave_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_source: Signed, items: Iterable[MediaObject], seconds: int) -> Iterator[str]:
        yield "https://files.example.com/first?sig=SECRET"
        raise KeyboardInterrupt

    monkeypatch.setattr(Signed, "presign", interrupted)
    signing = Signing(tmp_path / "references.jsonl", 1)
    with pytest.raises(KeyboardInterrupt):
        survey(Signed(photos), tmp_path / "manifests", signing, Silent())
    assert [path.name for path in tmp_path.iterdir() if "references" in path.name] == []


def test_references_without_a_folder_are_told_before_anything_is_listed(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder .*missing"):
        survey(Signed(photos), tmp_path / "manifests", Signing(tmp_path / "missing" / "r.jsonl", 1), Silent())
    assert not (tmp_path / "manifests").exists()
