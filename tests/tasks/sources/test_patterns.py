"""The one table of what paths and patterns select; every source is held to it in ``test_every_source``."""

from dataclasses import dataclass

import pytest

from tasks.core.errors import BadInput
from tasks.sources.patterns import exactly, is_pattern, parse_selection

TREE = (
    ".hidden/a.jpg",
    "100%/a%20b.jpg",
    "2024-05/img/a.jpg",
    "2024-05/img/deep/b.jpg",
    "2024-05/imgs/c.jpg",
    "2024-06/d.jpg",
    "2024-06/img/a.jpg",
    "2024-x.jpg",
    "2024/01/a.jpg",
    "2024/01/c.png",
    "2024/01/raw/a.jpg",
    "2024/a.jpg",
    "2024/b.JPG",
    "2024/notes.txt",
    "a+b#c&d=e.jpg",
    "a-.jpg",
    "a1.jpg",
    "a2.jpg",
    "ab.jpg",
    "b{1}.jpg",
    "c[1].jpg",
    "d*1.jpg",
    "dd.jpg",
    "e?.jpg",
    "ee.jpg",
    "img/a.jpg",
    "sp ace/a b.jpg",
    "videos/2023-05/a.mp4",
    "videos/2024-05/a.mp4",
    "videos/2024-05/cut/b.mp4",
    "x,y.jpg",
    "ximg/a.jpg",
    "\u00e9t\u00e9/\u00fc.jpg",
    "e\u0301t/u\u0308.jpg",
)
"""Keys that any store and any disk can hold, sorted but for the last."""


@dataclass(frozen=True)
class Case:
    """A path, and what it selects of the tree, as a set of keys written below one another or a beginning of keys."""

    path: str
    selects: frozenset[str]


def case(path: str, *selects: str) -> Case:
    assert set(selects) <= set(TREE)
    return Case(path, frozenset(selects))


def below(path: str, *beginnings: str) -> Case:
    """A case that selects everything below some folders."""
    return Case(path, frozenset(key for key in TREE if key.startswith(beginnings)))


CASES = (
    # no pattern: everything below, or the one object
    below("", ""),
    below("2024", "2024/"),
    below("2024/", "2024/"),
    below("2024/01", "2024/01/"),
    case("2024/a.jpg", "2024/a.jpg"),
    case("2024/b.JPG", "2024/b.JPG"),
    case("2024/0"),
    case("202"),
    below("sp ace", "sp ace/"),
    # * and ? stay within a part
    case("videos/2024-*/*.mp4", "videos/2024-05/a.mp4"),
    case("videos/*/*.mp4", "videos/2023-05/a.mp4", "videos/2024-05/a.mp4"),
    case("2024/*.jpg", "2024/a.jpg"),
    case("2024/*", "2024/a.jpg", "2024/b.JPG", "2024/notes.txt"),
    case("2024-*.jpg", "2024-x.jpg"),
    case("a?.jpg", "a-.jpg", "a1.jpg", "a2.jpg", "ab.jpg"),
    case("2024?a.jpg"),
    case("*/a.jpg", ".hidden/a.jpg", "2024/a.jpg", "img/a.jpg", "ximg/a.jpg"),
    case("*/0*/*.png", "2024/01/c.png"),
    case("2024-05/*/a.jpg", "2024-05/img/a.jpg"),
    # ** is any number of parts
    below("**", ""),
    below("2024/**", "2024/"),
    case("2024/**/*.jpg", "2024/a.jpg", "2024/01/a.jpg", "2024/01/raw/a.jpg"),
    case("2024/**/a.jpg", "2024/a.jpg", "2024/01/a.jpg", "2024/01/raw/a.jpg"),
    case("2024/**/raw/*", "2024/01/raw/a.jpg"),
    case("**/img/*.jpg", "img/a.jpg", "2024-05/img/a.jpg", "2024-06/img/a.jpg"),
    case("**/2024-05/**/*.mp4", "videos/2024-05/a.mp4", "videos/2024-05/cut/b.mp4"),
    below("**/img", "img/", "2024-05/img/", "2024-06/img/"),
    case("2024/**.jpg", "2024/a.jpg"),
    case("a**.jpg", "a-.jpg", "a1.jpg", "a2.jpg", "ab.jpg", "a+b#c&d=e.jpg"),
    case("2024/**/**/c.png", "2024/01/c.png"),
    # a plain last part, or a slash at the end, names folders
    below("2024-*/img", "2024-05/img/", "2024-06/img/"),
    below("2024-*/img/", "2024-05/img/", "2024-06/img/"),
    below("2024-*/", "2024-05/", "2024-06/"),
    below("20[0-9][0-9]/01", "2024/01/"),
    below("2024-{05,06}", "2024-05/", "2024-06/"),
    below("{2024-*/img,img}/", "2024-05/img/", "2024-06/img/", "img/"),
    case("2024-*/d.jpg", "2024-06/d.jpg"),
    # classes
    case("a[0-9].jpg", "a1.jpg", "a2.jpg"),
    case("a[!0-9].jpg", "a-.jpg", "ab.jpg"),
    case("a[^0-9].jpg", "a-.jpg", "ab.jpg"),
    case("a[b1].jpg", "a1.jpg", "ab.jpg"),
    case("a[-1].jpg", "a-.jpg", "a1.jpg"),
    case("a[1-].jpg", "a-.jpg", "a1.jpg"),
    case("2024[/]a.jpg"),
    case("2024[!x]a.jpg"),
    case("d[*]*.jpg", "d*1.jpg"),
    case("d*.jpg", "d*1.jpg", "dd.jpg"),
    case("e[?].jpg", "e?.jpg"),
    case("b[{]1}.jpg", "b{1}.jpg"),
    case("c[[]1].jpg", "c[1].jpg"),
    case("c[[]1[]].jpg", "c[1].jpg"),
    case("c[]x[]1[!a-z].jpg", "c[1].jpg"),
    # braces
    case("{2024-05,img}/*.jpg", "img/a.jpg"),
    case("a{1,2,9}.jpg", "a1.jpg", "a2.jpg"),
    case("2024{,-05/img}/a.jpg", "2024/a.jpg", "2024-05/img/a.jpg"),
    case("2024/**/*.{jpg,png}", "2024/a.jpg", "2024/01/a.jpg", "2024/01/c.png", "2024/01/raw/a.jpg"),
    case("{videos/2024-*,2024}/*.{mp4,txt}", "videos/2024-05/a.mp4", "2024/notes.txt"),
    case("a{{1,2},b}.jpg", "a1.jpg", "a2.jpg", "ab.jpg"),
    case("{a[0-9],e[?]}.jpg", "a1.jpg", "a2.jpg", "e?.jpg"),
    case("{**/raw,2024-06}/*.jpg", "2024/01/raw/a.jpg", "2024-06/d.jpg"),
    case("2024/{**/raw/,0?/}*.jpg", "2024/01/a.jpg", "2024/01/raw/a.jpg"),
    case("{2024/**,img}/*.jpg", "2024/a.jpg", "2024/01/a.jpg", "2024/01/raw/a.jpg", "img/a.jpg"),
    case("{2024/0[12],2024-0?}/*.{png,jpg}", "2024/01/a.jpg", "2024/01/c.png", "2024-06/d.jpg"),
    case("x{[,],-}y.jpg", "x,y.jpg"),
    case("b[{]1[}].jpg", "b{1}.jpg"),
    # what is special elsewhere is plain here
    case("a+*.jpg", "a+b#c&d=e.jpg"),
    case("*#*", "a+b#c&d=e.jpg"),
    case("x,*.jpg", "x,y.jpg"),
    case("sp *ce/*.jpg", "sp ace/a b.jpg"),
    case("100%/*%20*.jpg", "100%/a%20b.jpg"),
    case("*/*%*", "100%/a%20b.jpg"),
    # letters are compared as they are written
    case("\u00e9*/*.jpg", "\u00e9t\u00e9/\u00fc.jpg"),
    case("**/\u00fc*", "\u00e9t\u00e9/\u00fc.jpg"),
    case("*/[\u00e0-\u00ff].jpg", "\u00e9t\u00e9/\u00fc.jpg"),
    case("*/??.jpg", "e\u0301t/u\u0308.jpg"),
    case("2024/*.JPG", "2024/b.JPG"),
    # nothing
    case("2025-*/*.jpg"),
    case("nowhere/**/*.jpg"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path or "empty")
def test_selection_is_as_the_table_says(case: Case) -> None:
    selection = parse_selection(case.path)
    assert {key for key in TREE if selection.matches(key)} == case.selects
    assert all(key.startswith(selection.prefix) for key in case.selects)
    assert selection.prefix.startswith(selection.root)
    assert selection.root[-1:] in ("", "/")


@pytest.mark.parametrize(
    ("path", "matching", "other"),
    [
        ("/abs/*.jpg", ("/abs/a.jpg",), ("abs/a.jpg", "//abs/a.jpg")),
        ("/", ("/a.jpg", "/b/c.jpg"), ("a.jpg",)),
        ("*/a.jpg", ("/a.jpg", "x/a.jpg"), ("a.jpg",)),
        ("**/a.jpg", ("a.jpg", "/a.jpg", "x//a.jpg"), ("xa.jpg",)),
        ("a/*/b.jpg", ("a//b.jpg",), ("a/b.jpg",)),
        ("a.jpg", ("a.jpg", "a.jpg/b"), ("a.jpgs", "xa.jpg")),
        ("a.b/c(d)+^$|.jpg", ("a.b/c(d)+^$|.jpg",), ("axb/c(d)+^$|.jpg",)),
        ("*.(jpg)", ("a.(jpg)",), ("a.jpg",)),
        ("a\\*.jpg", ("a\\b.jpg", "a\\.jpg"), ("a*.jpg",)),
        ("*", ("a\nb.jpg", "\n"), ("a\n/b.jpg",)),
        ("a}b,c*", ("a}b,c.jpg",), ("ab.jpg",)),
        ("[a-z].jpg", ("q.jpg",), ("Q.jpg", "-.jpg", "aa.jpg", "/.jpg")),
        ("[!a].jpg", ("b.jpg", "!.jpg"), ("a.jpg", "/.jpg")),
        ("[a!].jpg", ("a.jpg", "!.jpg"), ("b.jpg",)),
        ("[\\d].jpg", ("\\.jpg", "d.jpg"), ("1.jpg",)),
        ("[&&~~||-].jpg", ("&.jpg", "~.jpg", "|.jpg", "-.jpg"), ("a.jpg",)),
        ("[+--].jpg", ("+.jpg", ",.jpg", "-.jpg"), (".jpg", "a.jpg")),
        ("{a}.jpg", ("a.jpg",), ("{a}.jpg",)),
        ("{,a}b.jpg", ("b.jpg", "ab.jpg"), ("bb.jpg",)),
        ("{a,b}{1,2}/{c,}", ("a1/c", "b2/"), ("a/c", "ab/c")),
        ("x/{**}/a.jpg", ("x/a.jpg", "x/y/z/a.jpg"), ("a.jpg",)),
        ("x/{**,y}", ("x/a.jpg", "x/z/a.jpg", "x/y"), ("y",)),
    ],
)
def test_selection_takes_keys_that_not_every_place_can_hold(
    path: str, matching: tuple[str, ...], other: tuple[str, ...]
) -> None:
    selection = parse_selection(path)
    assert [key for key in (*matching, *other) if selection.matches(key)] == list(matching)


@pytest.mark.parametrize(
    ("path", "root", "prefix"),
    [
        ("", "", ""),
        ("2024", "2024/", "2024/"),
        ("2024/", "2024/", "2024/"),
        ("2024/a.jpg", "2024/", "2024/a.jpg"),
        ("/abs/*.jpg", "/abs/", "/abs/"),
        ("*.jpg", "", ""),
        ("videos/2024-*/*.mp4", "videos/", "videos/2024-"),
        ("2024/**/*.jpg", "2024/", "2024/"),
        ("2024-*/img", "", "2024-"),
        ("a/b/c?", "a/b/", "a/b/c"),
        ("a/b/[cd]/e", "a/b/", "a/b/"),
        ("a/{b,c}/d", "a/", "a/"),
        ("a }b/c,d]/*", "a }b/c,d]/", "a }b/c,d]/"),
    ],
)
def test_selection_is_listed_below_its_longest_fixed_beginning(path: str, root: str, prefix: str) -> None:
    selection = parse_selection(path)
    assert (selection.text, selection.root, selection.prefix) == (path, root, prefix)


@pytest.mark.parametrize(
    ("path", "by_extension"),
    [
        ("", True),
        ("2024", True),
        ("2024/a.jpg", True),
        ("2024-*/img", True),
        ("2024-*/", True),
        ("2024/*", True),
        ("2024/**", True),
        ("2024/*.jpg", False),
        ("2024/**/*.dat", False),
        ("2024/a.*", False),
        ("2024/*.{jpg,dat}", False),
        ("v1.0/*", True),
        ("{left,right}.dat", False),
        ("{v1.0,v1.1}", True),
        ("2024/*/clip.mp4", False),
    ],
)
def test_pattern_that_ends_in_an_extension_takes_the_place_of_the_usual_ones(path: str, by_extension: bool) -> None:
    assert parse_selection(path).by_extension is by_extension


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("a/[b", r"a \[ is not closed; .* \[\[\]"),
        ("a/[", r"a \[ is not closed"),
        ("a/[]", r"a \[ is not closed"),
        ("a/[!]", r"a \[ is not closed"),
        ("a/{b", r"a \{ is not closed; .* \[\{\]"),
        ("a/{b,{c}", r"a \{ is not closed"),
        ("a/{b,[}]c", r"a \{ is not closed"),
        ("a/[z-a].jpg", r"\[z-a\]"),
    ],
)
def test_pattern_that_means_nothing_is_bad_input(path: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        parse_selection(path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [*TREE, "[", "]", "[]", "{}", "!", "a^", "a[!b]{c,d}**?.jpg"])
def test_exact_key_selects_itself_alone(key: str) -> None:
    selection = exactly(key)
    assert selection.matches(key)
    assert not any(selection.matches(other) for other in TREE if other != key)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path or "empty")
def test_no_folder_that_holds_something_selected_is_passed_by(case: Case) -> None:
    selection = parse_selection(case.path)
    folders = {key[: place + 1] for key in case.selects for place, letter in enumerate(key) if letter == "/"}
    assert [folder for folder in folders if not selection.leads_into(folder)] == []


@pytest.mark.parametrize(
    ("path", "folder"),
    [("2024/*.jpg", "2024/01/"), ("2024/0?/x.jpg", "2024/11/"), ("{a,b}/c/*", "a/d/"), ("*/img/", "a/b/"), ("a", "b/")],
)
def test_folder_that_cannot_hold_anything_selected_is_passed_by(path: str, folder: str) -> None:
    assert not parse_selection(path).leads_into(folder)


def test_plain_path_is_no_pattern() -> None:
    assert [path for path in ("a/b.jpg", "a]b}c,d", "a b+c#%") if is_pattern(path)] == []
    assert [path for path in ("*", "a?", "[a", "{a") if not is_pattern(path)] == []
