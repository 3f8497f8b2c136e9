"""A home with everything in it kept warm, for tests to which it is only where the servers are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.core.settings import Settings
from tasks.roboflow_api.platform import embedded_server
from tests.commands import ENGINE_PYTHON
from tests.prefect_server import PrefectServer

ALLOWED = {"DARKROOM_ALLOW_HOSTS": "127.0.0.1"}
"""The embedded server may fetch from the emulators."""


@dataclass(frozen=True)
class Home:
    """What ``DARKROOM_HOME`` is to be, with the embedded server up, and a Prefect server."""

    folder: Path
    prefect: PrefectServer

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command here."""
        return {"DARKROOM_HOME": str(self.folder)} | ALLOWED | self.prefect.environment

    def artifacts(self, run: str) -> dict[str, str]:
        """Keys and types of what the flow runs of a run show."""
        query = """SELECT artifact.key, artifact.type FROM artifact JOIN flow_run ON flow_run.id = artifact.flow_run_id
            WHERE flow_run.tags LIKE ?"""
        return dict(self.prefect.asked(query, f"%run:{run}%"))


@contextmanager
def warm_home(folder: Path, prefect: PrefectServer) -> Iterator[Home]:
    """A home in this folder."""
    settings = {"DARKROOM_HOME": folder, "DARKROOM_ENGINE_PYTHON": ENGINE_PYTHON} | ALLOWED
    service = embedded_server(Settings.model_validate(settings))
    with service.use():
        yield Home(folder, prefect)
    assert service.wait_until_gone()
