"""What a run was asked to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions

MOST_LABEL_CHARACTERS = 64
AskedTransfer = Literal["auto", "upload", "reference"]


class RunRequest(BaseModel):
    """The inputs of a run; with them and the same media it can be run again."""

    model_config = ConfigDict(frozen=True)

    source: str
    workflow: str
    platform: str = "embedded"
    parameters: dict[str, Any] = Field(default_factory=dict)
    options: ResultOptions = ResultOptions()
    runs: str = "runs"
    rerun: str = ""
    replays: str = ""
    """Key of the run whose very files are processed again; the source is that run's."""
    pilot_of: str = ""
    """Key of the run whose first files are processed."""
    transfer: AskedTransfer = "auto"
    only_new: bool = False
    destination: str = ""
    credentials: str = ""
    """Prefect block with the credentials for buckets, by its name; no part of the run's identity."""
    export: ExportChoice = ExportChoice()
    datasets: DatasetOptions = DatasetOptions()
    expectations: Expectations = Expectations()
    comparison: ComparisonOptions = ComparisonOptions()
    job: JobOptions = JobOptions()
    wait: WaitOptions = WaitOptions()
    pilot: PilotOptions = PilotOptions()

    def command(self) -> str:
        """The shell command that asks for this run again; for a pilot, that of the run whose pilot it is."""
        if self.replays:
            return replay_command(self.replays, self.runs, self.credentials)
        words = ["darkroom", "run", self.source, "--workflow", self.workflow, "--platform", self.platform]
        words += [word for pair in self.parameters.items() for word in ("--param", _assignment(*pair))]
        words += ["--runs", self.runs]
        for name in ("rerun", "destination", "credentials"):
            if value := getattr(self, name):
                words += [f"--{name}", value]
        if self.transfer != "auto":
            words += ["--transfer", self.transfer]
        if self.only_new:
            words.append("--only-new")
        words += [*_export_words(self.export), *_dataset_words(self.datasets)]
        words += [*_assigned("--expect", self.expectations), *_comparison_words(self.comparison)]
        words += [*_assigned("--option", self.options), *_assigned("--job", self.job), *_assigned("--wait", self.wait)]
        words += _pilot_words(self.pilot)
        return shlex.join(words)


def replay_command(key: str, runs: str, credentials: str = "") -> str:
    """The shell command that replays the run of that key, which lies among ``runs``."""
    named = ["--credentials", credentials] if credentials else []
    return shlex.join(["darkroom", "replay", key, "--runs", runs, *named])


def _export_words(choice: ExportChoice) -> Iterator[str]:
    if choice.stage:
        yield f"--stage={choice.stage}"
    for part in choice.parts:
        yield f"--part={part}"


def _dataset_words(options: DatasetOptions) -> Iterator[str]:
    for name in options.formats:
        yield f"--format={name}"
    for name in options.outputs:
        yield f"--dataset-output={name}"
    if options.images != "none":
        yield from ("--images", options.images)
    if options.validation:
        yield from ("--validation", str(options.validation))
    if options.zipped:
        yield "--zip"


def _comparison_words(options: ComparisonOptions) -> Iterator[str]:
    if options.against:
        yield from ("--compare", options.against)
    yield from _assigned("--limit", options.model_copy(update={"against": ""}))


def _pilot_words(options: PilotOptions) -> Iterator[str]:
    if options.files:
        yield from ("--pilot", str(options.files))
    yield from _assigned("--budget", options.model_copy(update={"files": 0}))


def _assigned(flag: str, options: BaseModel) -> Iterator[str]:
    """What differs from the defaults, as ``NAME=VALUE`` behind ``flag``."""
    for name, value in options.model_dump(mode="json", exclude_defaults=True).items():
        yield from (flag, f"{name}={value if isinstance(value, str) else json.dumps(value)}")


def _assignment(name: str, value: Any) -> str:
    return f"{name}={value if isinstance(value, str) and not _is_json(value) else json.dumps(value)}"


def check_label(text: str) -> str:
    """``text`` where it can be a ``rerun`` label.

    Raises:
        ValueError: it is too long.
    """
    if len(text) > MOST_LABEL_CHARACTERS:
        raise ValueError(f"the label has {len(text)} characters: choose one of at most {MOST_LABEL_CHARACTERS}")
    return text


def parse_parameter(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as the command line takes it: JSON where the value is JSON, else the text itself.

    Raises:
        ValueError: there is no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name.strip(), json.loads(value) if _is_json(value) else value


def _is_json(text: str) -> bool:
    try:
        # Python reads NaN, 1e999 and half a surrogate pair; JSON has neither, and UTF-8 not the last.
        json.dumps(json.loads(text), allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True
