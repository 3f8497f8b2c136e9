from pathlib import Path

import pytest

from tests.tasks.results.exporters.made_run import MadeRun


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    return MadeRun(tmp_path)
