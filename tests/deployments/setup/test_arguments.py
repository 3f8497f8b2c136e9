"""What the command refuses before Prefect is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import clean_environment

SETUP = [sys.executable, "-m", "deployments.setup"]


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([], {}, "set PREFECT_API_URL"),
        ([], {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "cannot be reached"),
        (["--most-runs", "0"], {}, "not a number of 1 or more"),
    ],
)
def test_wrong_surroundings_are_told(tmp_path: Path, words: list[str], environment: dict[str, str], said: str) -> None:
    environment = clean_environment(PREFECT_HOME=str(tmp_path), **environment)
    done = subprocess.run([*SETUP, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
