"""What a run was asked to do."""

from __future__ import annotations

import json
import shlex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.identity import ResultOptions

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
    transfer: AskedTransfer = "auto"
    only_new: bool = False
    destination: str = ""

    def command(self) -> str:
        """The shell command that asks for this run again.

        Options that the command line does not take follow as a comment; ``run.json`` holds them all.
        """
        words = ["darkroom", "run", self.source, "--workflow", self.workflow, "--platform", self.platform]
        for name, value in self.parameters.items():
            words += ["--param", f"{name}={_parameter_text(value)}"]
        words += ["--runs", self.runs]
        for name in ("rerun", "destination"):
            if value := getattr(self, name):
                words += [f"--{name}", value]
        if self.transfer != "auto":
            words += ["--transfer", self.transfer]
        if self.only_new:
            words.append("--only-new")
        changed = self.options.model_dump(mode="json", exclude_defaults=True)
        return shlex.join(words) + (f"  # with options {json.dumps(changed)}" if changed else "")


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


def _parameter_text(value: Any) -> str:
    return value if isinstance(value, str) and not _is_json(value) else json.dumps(value)


def _is_json(text: str) -> bool:
    try:
        # Python reads NaN, 1e999 and half a surrogate pair; JSON has neither, and UTF-8 not the last.
        json.dumps(json.loads(text), allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True
