import random
import re

import pytest

from tasks.media.names import MAX_NAME_BYTES, decode_name, encode_name

ODD = [
    "a/b",
    "a~~b",
    "a~b",
    "a/~b",
    "a~/b",
    "a~2fb",
    "a b.jpg",
    "a\nb.jpg",
    "a\tb.jpg",
    "'a' \"b\".jpg",
    "日本/写真 1.jpg",
    "naïve.jpg",
    "nai\u0308ve.jpg",
    "🙂.png",
    ".hidden.jpg",
    "..",
    "../../etc/passwd",
    "-rf.jpg",
    "--.jpg",
    "/a.jpg",
    "//a.jpg",
    "~",
    "~~",
    "~h",
    "~habcdef.jpg",
    "~2e",
    "%2e",
    "a\\b.jpg",
    "CON.jpg",
    "a:b*c?.jpg",
    "\x7f\x01.jpg",
    "\udcff\udc80.jpg",
    "\\xff.jpg",
    "x" * 196 + ".jpg",
]
ALPHABET = "ab01AZ._-~/ h2f\n\t\"'\\%#?&é日🙂\u0308\x00\x7f\udcff"


def random_keys(seed: int, number: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(ALPHABET, k=chance.randint(1, 40))) for _ in range(number)]


def test_name_is_reversible_safe_and_unique() -> None:
    keys = {*ODD, *random_keys(4711, 20_000)}
    names: dict[str, str] = {}
    for key in keys:
        name = encode_name(key)
        assert re.fullmatch(r"[A-Za-z0-9_~][A-Za-z0-9._~-]*", name), key
        assert len(name) <= MAX_NAME_BYTES
        assert name not in names, (key, names[name])
        names[name] = key
        if not name.startswith("~h"):
            assert decode_name(name) == key
    assert sum(name.startswith("~h") for name in names) < len(keys) / 10


def test_name_of_a_plain_key_is_the_key() -> None:
    for key in ("IMG_0001.JPG", "a-b.c_d.jpeg", "2024.01.02"):
        assert encode_name(key) == key


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("day 1/a.jpg", "day~201~~a.jpg"),
        ("a~~b", "a~7e~7eb"),
        (".a", "~2ea"),
        ("-a", "~2da"),
        ("é", "~c3~a9"),
    ],
)
def test_name_is_the_documented_one(key: str, name: str) -> None:
    assert encode_name(key) == name


def test_long_names_end_in_a_digest_and_keep_their_extension() -> None:
    keys = [f"{'x' * 300}{number}.JPeG" for number in range(100)]
    keys += ["日" * 67 + ".jpg", "/".join("abc" * 40) + ".tiff", "x" * 197 + ".jpg", "." + "x" * 300, "x" * 201]
    names = [encode_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(name.startswith("~h") and len(name.encode()) <= 48 for name in names)
    assert names[0].endswith(".JPeG")
    assert names[-1].count(".") == 0


def test_long_name_is_no_other_key_s_name() -> None:
    long = encode_name("x" * 300 + ".jpg")
    assert encode_name(long) != long
    assert decode_name(encode_name(long)) == long


def test_name_is_stable() -> None:
    assert encode_name("x" * 300 + ".jpg") == "~haac810c56ac98bc46aab0b983b777f93.jpg"
