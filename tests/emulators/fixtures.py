"""The places as pytest fixtures; see :mod:`tests.emulators`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulators.pool import CLOUDS, KINDS, POOL, Pool, cannot_run, foreign_variables

__all__ = ["azure", "cloud", "gcs", "local", "place", "pool", "s3", "sftp"]


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Ends at the end of the session what the tests have started."""
    yield POOL
    POOL.close()


def ready(kind: str, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The place, empty, with this process's environment leading there."""
    if reason := cannot_run(kind):
        pytest.skip(reason)
    found = pool.place(kind)
    for name in foreign_variables():
        monkeypatch.delenv(name)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture(params=KINDS)
def place(request, pool, monkeypatch):
    return ready(request.param, pool, monkeypatch)


@pytest.fixture(params=CLOUDS)
def cloud(request, pool, monkeypatch):
    return ready(request.param, pool, monkeypatch)


@pytest.fixture
def local(pool, monkeypatch):
    return ready("local", pool, monkeypatch)


@pytest.fixture
def sftp(pool, monkeypatch):
    return ready("sftp", pool, monkeypatch)


@pytest.fixture
def s3(pool, monkeypatch):
    return ready("s3", pool, monkeypatch)


@pytest.fixture
def gcs(pool, monkeypatch):
    return ready("gcs", pool, monkeypatch)


@pytest.fixture
def azure(pool, monkeypatch):
    return ready("azure", pool, monkeypatch)
