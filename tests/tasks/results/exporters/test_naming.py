import random

import pytest

from tasks.media.names import encode_name
from tasks.results.exporters.base import stem
from tasks.results.exporters.naming import Names, split_of


def named(*files: str) -> list[str]:
    names = Names()
    return [names.name(file, None) for file in files]


def test_names_stay_where_stems_differ():
    assert named("a.jpg", "b.jpg", "day~201~~a.jpg") == ["a.jpg", "b.jpg", "day~201~~a.jpg"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "a.png"], ["a.jpg", "a~xpng.png"]),
        (["a.JPG", "a.jpg", "a.png"], ["a.JPG", "a~xjpg.jpg", "a~xpng.png"]),
        (["a.jpg", "a.jpg.jpg", "a.jpg.png", "a.png"], ["a.jpg", "a.jpg.jpg", "a.jpg~xpng.png", "a~xpng.png"]),
        (["a", "a-1.jpg", "a.jpg"], ["a", "a-1.jpg", "a~xjpg.jpg"]),
    ],
)
def test_files_that_share_a_stem_get_stems_of_their_own(files, names):
    assert files == sorted(files)
    assert named(*files) == names


def test_stems_are_unique_whatever_the_files():
    choice = random.Random(5)
    keys = {
        "".join(choice.choices("ab.-/~", k=choice.randint(1, 5))) + choice.choice(["", ".jpg", ".png"])
        for _ in range(4000)
    }
    files = sorted({encode_name(key) for key in keys if key.strip("./")})
    names = named(*files)
    assert len(files) > 1000
    assert len({stem(name) for name in names}) == len(files)


def test_frames_of_a_video_have_names_of_their_own():
    names = Names()
    found = [names.name("a.mp4", 0), names.name("a.mp4", 12), names.name("b.mp4", 1_000_000)]
    assert found == ["a.mp4~frame-000000.jpg", "a.mp4~frame-000012.jpg", "b.mp4~frame-1000000.jpg"]


def test_split_follows_the_name_alone_and_meets_the_share():
    keys = [f"day {n % 7}/{n}.jpg" for n in range(5000)]
    chosen = {key for key in keys if split_of(key, 0.2) == "val"}
    assert 0.18 < len(chosen) / len(keys) < 0.22
    assert chosen == {key for key in reversed(keys) if split_of(key, 0.2) == "val"}
    assert chosen < {key for key in keys if split_of(key, 0.3) == "val"}
    assert {split_of(key, 0.0) for key in keys} == {"train"}


def test_split_is_the_same_for_ever():
    in_validation = [n for n in range(8) if split_of(f"{n}.jpg", 0.5) == "val"]
    assert in_validation == [0, 1, 5, 6]
