from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.results.run_on_disk import Entry, Run, detections


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def manifest() -> Callable[..., list[Entry]]:
    return lambda *names: [Entry(name, f"key of {name}") for name in names]


@pytest.fixture
def boxes() -> Callable[..., dict[str, Any]]:
    return detections
