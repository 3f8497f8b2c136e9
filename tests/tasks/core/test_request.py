import shlex
from typing import Any

import pytest

from tasks.core.request import MOST_LABEL_CHARACTERS, RunRequest, check_label, parse_parameter

VALUES: list[Any] = [
    1,
    -0.5,
    True,
    None,
    "text",
    "",
    " padded ",
    "5",
    "null",
    '"quoted"',
    "it's",
    "a=b",
    "日本\n\t$HOME `x`",
    "NaN",
    "-Infinity",
    "1e999",
    [1, "a", None],
    {"deep": [1, {"x": "é"}]},
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=null", None),
        ("a=", ""),
        ("a=text", "text"),
        ("a=x=y", "x=y"),
        ("a=[1, 2]", [1, 2]),
        ('a="5"', "5"),
        (" a = 5", 5),
        ("a={broken", "{broken"),
        ("a=NaN", "NaN"),
        ("a=Infinity", "Infinity"),
        ("a=1e999", "1e999"),
        (r'a="\ud800"', r'"\ud800"'),
        (r'a="\ud83d\ude00"', "😀"),
        ("a=" + "[" * 100_000, "[" * 100_000),
        ("a=" + "9" * 5000, "9" * 5000),
    ],
)
def test_parameter_is_json_or_else_text(text: str, value: Any) -> None:
    assert parse_parameter(text) == ("a", value)


@pytest.mark.parametrize("text", ["", "a", "=1", "  =1"])
def test_parameter_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_parameter(text)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_command_asks_for_the_same_parameters(value: Any) -> None:
    words = shlex.split(RunRequest(source="s", workflow="w", parameters={"p": value}).command())
    assert parse_parameter(words[words.index("--param") + 1]) == ("p", value)


def test_command_is_safe_for_a_shell() -> None:
    request = RunRequest(
        source="/data/it's $HOME",
        workflow="./my flow.json",
        platform="http://h:1",
        runs="my runs",
        rerun="again 1",
    )
    assert shlex.split(request.command()) == [
        *("darkroom", "run", "/data/it's $HOME", "--workflow", "./my flow.json", "--platform", "http://h:1"),
        *("--runs", "my runs", "--rerun", "again 1"),
    ]


def test_command_leaves_an_empty_label_out() -> None:
    assert "--rerun" not in RunRequest(source="s", workflow="w").command()


def test_label_that_is_too_long_is_refused() -> None:
    assert check_label("x" * MOST_LABEL_CHARACTERS) == "x" * MOST_LABEL_CHARACTERS
    with pytest.raises(ValueError, match=f"at most {MOST_LABEL_CHARACTERS}"):
        check_label("x" * (MOST_LABEL_CHARACTERS + 1))
