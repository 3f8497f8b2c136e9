"""Starts the reader of datasets in the environment that has the formats' own libraries."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, clean_environment

PYTHON = ROOT / ".venv-readers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("read_dataset.py")
LONGEST = 120.0

needs_readers = pytest.mark.skipif(not PYTHON.exists(), reason=".venv-readers is missing: make test installs it")


def read_back(form: str, path: Path) -> dict[str, Any]:
    """What the libraries of a format see in a dataset."""
    found: dict[str, Any] = read_all({form: path})[form]
    return found


def read_all(datasets: dict[str, Path]) -> dict[str, Any]:
    """What each format's libraries see in its dataset; they take seconds to start, together as much as each alone."""
    done = subprocess.run(
        [PYTHON, SCRIPT, *(str(word) for pair in datasets.items() for word in pair)],
        env=clean_environment(PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
