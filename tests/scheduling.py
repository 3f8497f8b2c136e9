"""Which tests a process gets: those that share servers in one, and first of all what takes longest."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

TOGETHER = {
    "house": ("tests/chaos/test_kill_*", "tests/chaos/test_faults.py", "tests/test_secrets.py"),
    "home": (
        *("tests/flows/test_from_anywhere.py", "tests/flows/test_re*.py", "tests/flows/test_secrets_by_name.py"),
        *("tests/flows/command_line/test_json.py", "tests/tasks/test_pipeline.py"),
    ),
}
"""Files whose tests use the fixtures of these names."""
FIRST = ("house", "tests/deployments/test_deployments.py", "home", "tests/test_fresh_clone.py")


def scope_of(nodeid: str) -> str:
    """What a test is kept together with: its file, or what its file is part of."""
    file = nodeid.partition("::")[0]
    return next((name for name, files in TOGETHER.items() if any(fnmatch(file, each) for each in files)), file)


def rank_of(item: pytest.Item) -> tuple[int, bool]:
    """Where a test stands: by its scope, then those with a server of Prefect's, which are long."""
    scope = scope_of(item.nodeid)
    place = FIRST.index(scope) if scope in FIRST else len(FIRST)
    return place, item.get_closest_marker("prefect_server") is None


class SharedServersScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Gives a process one scope after another."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedServersScheduling:
    """Called where tests run in several processes."""
    return SharedServersScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Brings the tests into the order in which processes are given them."""
    items.sort(key=rank_of)
