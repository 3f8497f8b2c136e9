import json
import math
from datetime import datetime
from enum import IntEnum
from pathlib import Path

import pytest

from deployments.batch_server.engine.outputs import CannotWrite, ChunkFiles, safe_name, to_plain


class Picture:
    """Stands where the engine's image class does."""


class Colour(IntEnum):
    RED = 1


def plain(value: object) -> object:
    return to_plain(value, Picture, lambda image, place: "/".join(place), ("out",))


def test_json_values_stay_as_they_are():
    value = {"a": [1, 2.5, "x", None, True, {"b": []}]}
    assert plain(value) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_null(value: float):
    assert plain([value]) == [None]


def test_other_values_become_their_nearest_in_json():
    assert plain((1, {2})) == [1, [2]]
    assert plain(datetime(2026, 5, 4)) == "2026-05-04T00:00:00"
    assert plain(b"raw") == "b'raw'"
    assert plain({3: Colour.RED}) == {"3": 1}


def test_images_are_replaced_and_know_their_place():
    assert plain({"crops": [Picture(), 5, Picture()]}) == {"crops": ["out/crops/0", 5, "out/crops/2"]}


@pytest.mark.parametrize("name", ["a.jpg", "two words", "写真.jpg", "line\nbreak", "x" * 255, "..."])
def test_ordinary_names_are_kept(name: str):
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "x" * 256, "写" * 90, "\udc80"])
def test_dangerous_names_become_hashes(name: str):
    assert len(safe_name(name)) == 32
    assert safe_name(name) != safe_name(f"{name}?")


def test_a_suffix_counts_towards_the_length():
    assert safe_name("x" * 251, ".jpg") == "x" * 251 + ".jpg"
    assert len(safe_name("x" * 252, ".jpg")) == 36


def test_files_go_on_where_the_last_report_was(tmp_path: Path):
    first = ChunkFiles(tmp_path, 0, 0)
    first.add_result({"image": "a"})
    first.add_failure("b", "why")
    sizes = first.sizes()
    first.add_result({"image": "never reported"})
    first.close()

    second = ChunkFiles(tmp_path, **sizes)
    second.add_result({"image": "c \u2028 \udc80"})
    second.close()
    lines = (tmp_path / "results.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["a", "c \u2028 \udc80"]
    assert json.loads((tmp_path / "failures.jsonl").read_text()) == {"image": "b", "reason": "why"}


def test_images_lie_below_their_own_folder(tmp_path: Path):
    files = ChunkFiles(tmp_path, 0, 0)
    assert files.add_image("a.jpg", ("crops", "0"), b"data") == "a.jpg/crops/0.jpg"
    assert files.add_image("a.jpg", ("../up",), b"data").startswith("a.jpg/")
    files.close()
    assert (tmp_path / "images" / "a.jpg" / "crops" / "0.jpg").read_bytes() == b"data"
    assert len(list(tmp_path.rglob("*.jpg"))) == 3


def test_a_folder_that_is_gone_is_told_plainly(tmp_path: Path):
    with pytest.raises(CannotWrite, match="cannot store results: No such file or directory"):
        ChunkFiles(tmp_path / "gone", 0, 0)
