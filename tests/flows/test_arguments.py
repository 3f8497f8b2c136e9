import shlex
from typing import Any

import pytest

from flows.arguments import asked_run, parse
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.request import RunRequest

FULL: dict[str, Any] = {
    "source": "s3://bucket/2024/**/*.jpg",
    "workflow": "./my flow.json",
    "platform": "http://h:1",
    "parameters": {"a": "x y", "b": [1, {"c": None}], "d": "5"},
    "transfer": "reference",
    "only_new": True,
    "export": ExportChoice(stage="processing", parts=["aggregated-results", "odd part"]),
    "datasets": DatasetOptions(
        formats=["coco", "my-own"], outputs=["codes"], images="copy", validation=0.25, zipped=True
    ),
    "expectations": Expectations(
        max_failures=3,
        max_failure_rate=0.1,
        max_empty_rate=1,
        min_mean_confidence=0.5,
        min_confidence=0.05,
        required_classes=["car", "a,b", "it's"],
        forbidden_classes=["<b>", '"'],
    ),
    "comparison": ComparisonOptions(
        against="previous", class_shift=0.1, confidence_shift=0.3, failure_rise=0.01, throughput_drop=0.9
    ),
    "destination": "gs://bucket/results",
    "runs": "my runs",
    "rerun": "label 1",
}


def nothing(_options: Any) -> int:
    return 0


def asked(words: list[str]) -> RunRequest:
    names = ("run", "stage", "compare", "replay", "runs", "show", "server")
    return asked_run(parse(words, dict.fromkeys(names, nothing)), "runs")


def test_full_request_differs_from_the_defaults_in_everything() -> None:
    full, bare = RunRequest(**FULL), RunRequest(source="s", workflow="w")
    left = {name for name, value in full if value == getattr(bare, name)}
    assert left == {"options", "replays"}
    for group in ("export", "datasets", "expectations", "comparison"):
        changed = getattr(full, group)
        assert not [name for name, value in changed if value == type(changed).model_fields[name].get_default()]


@pytest.mark.parametrize("name", sorted(FULL))
def test_command_asks_for_each_wish_alone(name: str) -> None:
    request = RunRequest(**({"source": "s", "workflow": "w"} | {name: FULL[name]}))
    assert asked(shlex.split(request.command())[1:]) == request


def test_command_asks_for_all_wishes_together() -> None:
    request = RunRequest(**FULL)
    assert asked(shlex.split(request.command())[1:]) == request


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expect", "max_failures=-1"], "max_failures=-1: Input should be greater than or equal to 0"),
        (["--expect", "max_failures"], "is not NAME=VALUE with one of the names max_failures, max_failure_rate"),
        (["--expect", "most=1"], "is not NAME=VALUE with one of the names max_failures, max_failure_rate"),
        (["--expect", "required_classes=[car"], "neither a JSON list nor items with commas between them"),
        (["--limit", "class_shift=0"], "class_shift=0: Input should be greater than 0"),
        (["--validation", "1"], "validation=1: Input should be less than 1"),
        (["--images", "move"], "invalid choice: 'move'"),
    ],
)
def test_wrong_wish_is_told_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        asked(["run", "s", "--workflow", "w", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
