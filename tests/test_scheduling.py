from __future__ import annotations

import re

import pytest

from tests.forkserver.client import ROOT
from tests.scheduling import FIRST, TOGETHER, scope_of

PATTERNS = [(name, pattern) for name, patterns in TOGETHER.items() for pattern in patterns]


@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_files_that_are_kept_together_are_there_and_use_what_they_share(name: str, pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files
    shared = {"house": r"[(, ](whole_)?house[,:)]", "home": r"[(, ](home|prefect_api)[,:)]"}[name]
    assert [file for file in files if not re.search(shared, file.read_text())] == []


def test_what_comes_first_is_there() -> None:
    assert [scope for scope in FIRST if scope not in TOGETHER and not (ROOT / scope).is_file()] == []


def test_others_are_kept_together_by_their_file() -> None:
    assert scope_of("tests/chaos/test_kill_flow.py::test_a") == scope_of("tests/test_secrets.py::test_b[1]") == "house"
    assert scope_of("tests/readme/test_readme.py::test_a[x::y]") == "tests/readme/test_readme.py"
