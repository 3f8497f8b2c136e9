"""What the command refuses before Prefect is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.setup.__main__ import first_line
from tests.commands import clean_environment

SETUP = [sys.executable, "-m", "deployments.setup"]


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([], {}, "set PREFECT_API_URL"),
        ([], {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "cannot be reached"),
        (["--most-runs", "0"], {}, "not a number of 1 or more"),
        (["--blok", "mine"], {}, "did you mean --block?"),
        (["--block"], {}, "expected one argument"),
    ],
)
def test_wrong_surroundings_are_told(tmp_path: Path, words: list[str], environment: dict[str, str], said: str) -> None:
    environment = clean_environment(PREFECT_HOME=str(tmp_path), **environment)
    done = subprocess.run(
        [*SETUP, "--json", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    error = json.loads(done.stdout)["error"]
    assert said in error["message"]
    assert done.stderr.splitlines()[-1].endswith(error["message"])


def test_error_that_says_nothing_is_told_by_its_kind() -> None:
    assert first_line(httpx.ReadTimeout("")) == "ReadTimeout"
    assert first_line(httpx.ReadTimeout("\nlate\nvery")) == "late"
