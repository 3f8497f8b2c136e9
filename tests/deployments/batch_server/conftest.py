"""Servers that tests share; each test uses batches and jobs of its own."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.deployments.batch_server.running import ServerClient, settings_for, thread_server
from tests.deployments.batch_server.small_engine import SmallEngine

NUMBERS = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerClient]:
    """A server over the small engine."""
    settings = settings_for(tmp_path_factory.mktemp("server"), lines_per_file=8, chunk_limit=4)
    with thread_server(settings, SmallEngine()) as client:
        yield client


@pytest.fixture
def batch() -> str:
    """The id of a batch that no other test uses."""
    return f"batch-{next(NUMBERS)}"


@pytest.fixture
def job() -> str:
    """The id of a job that no other test uses."""
    return f"job-{next(NUMBERS)}"
