import shlex
from argparse import Namespace
from typing import Any

import pytest

from flows.command_line.arguments import parse
from flows.command_line.commands import COMMANDS
from flows.command_line.help_style import UsageError
from flows.command_line.run_words import asked_run
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions
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
    "options": ResultOptions(
        keep_images=False,
        image_outputs=["a,b", "c"],
        image_input="1",
        aggregation_format="csv",
        inference_backend="old-inference",
        images_metadata_part="about",
        images_metadata_mapping={"camera": "id"},
    ),
    "job": JobOptions(
        machine_type="gpu",
        workers_per_machine=4,
        max_runtime_seconds=3600,
        max_parallel_tasks=20,
        max_image_failure_rate=0.5,
        notifications_url="https://example.com/told?a=b",
    ),
    "pilot": PilotOptions(files=100, max_hours=2.5, max_credits=40, credits_per_machine_hour=7, max_failure_rate=0.02),
    "wait": WaitOptions(mode="suspend", deadline_hours=1.5, stall_minutes=5, on_cancel="leave"),
    "destination": "gs://bucket/results",
    "credentials": "aws-credentials/mine",
    "runs": "my runs",
    "rerun": "label 1",
}


def nothing(_options: Any) -> int:
    return 0


def parsed(words: list[str]) -> Namespace:
    return parse(words, dict.fromkeys(COMMANDS, nothing))


def asked(words: list[str]) -> RunRequest:
    return asked_run(parsed(words), "runs")


def test_full_request_differs_from_the_defaults_in_everything() -> None:
    full, bare = RunRequest(**FULL), RunRequest(source="s", workflow="w")
    left = {name for name, value in full if value == getattr(bare, name)}
    assert left == {"replays", "pilot_of"}
    for group in ("options", "job", "wait", "pilot", "export", "datasets", "expectations", "comparison"):
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
        (["--expect", "required_classes=[car"], "not the JSON that it begins as"),
        (["--limit", "class_shift=0"], "class_shift=0: Input should be greater than 0"),
        (["--validation", "1"], "validation=1: Input should be less than 1"),
        (["--pilot", "-1"], "files=-1: Input should be greater than or equal to 0"),
        (["--budget", "max_hours=0"], "max_hours=0: Input should be greater than 0"),
        (["--budget", "files=5"], "files=5: name the number of files with --pilot"),
        (["--images", "move"], "invalid choice: 'move'"),
    ],
)
def test_wrong_wish_is_told_in_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as told:
        asked(["run", "s", "--workflow", "w", *words])
    assert (told.value.exit_status, told.value.command) == (2, "darkroom run")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([" "], "argument MODEL: is empty: name a model, such as my-project/3"),
        (["m/1", "--device", "tpu"], "invalid choice: 'tpu' (choose from 'nvidia-t4', 'nvidia-l4', 'nvidia-l40s')"),
        (["m/1", "--deadline-hours", "0"], "deadline_hours=0: Input should be greater than 0"),
        (["m/1", "--rerun", "x" * 65], "choose one of at most 64"),
    ],
)
def test_compilation_that_cannot_be_is_told_in_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as told:
        parsed(["compile", *words])
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "there is no command rnu: did you mean run?"),
        (["webhook", "--port", "1"], "there is no command webhook: did you mean webhooks?"),
        (["xyzzy"], "there is no command xyzzy"),
        (["--verison"], "there is no option --verison: did you mean --version?"),
        (["run", "s", "--worfklow", "w"], "there is no option --worfklow: did you mean --workflow?"),
        (["run", "--dryrun"], "there is no option --dryrun: did you mean --dry-run?"),
        (["run", "s", "--workflow", "w", "--quite-else"], "there is no option --quite-else"),
        (["run", "s", "--workflow", "w", "--transfer=uplaod"], "(choose from 'auto', 'upload', 'reference'): did you"),
        (["show", "k", "--run", "r"], "there is no option --run: did you mean --runs?"),
        (["completion", "basch"], "did you mean bash?"),
    ],
)
def test_word_that_is_not_known_gets_the_nearest_that_is(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as told:
        parsed(words)
    assert said in str(told.value)
    assert ("did you mean" in str(told.value)) == ("did you" in said)


def test_words_behind_two_dashes_and_those_of_processes_are_left_alone() -> None:
    assert parsed(["show", "--", "--odd"]).run == "--odd"
    assert parsed(["server", "--port", "1", "--json", "--help"]).arguments == ["--port", "1", "--json", "--help"]


def test_options_are_never_abbreviated() -> None:
    with pytest.raises(UsageError, match="did you mean --workflow"):
        parsed(["run", "s", "--workf", "w"])
