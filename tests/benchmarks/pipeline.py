"""``darkroom run`` as a command to measure."""

from __future__ import annotations

import os
from pathlib import Path

from flows.prefect_server import prefect_service, prepare
from tests.benchmarks.costs import ROOT, Cost, run

ENGINE = ROOT / ".venv-engine" / "bin"
DARKROOM = ROOT / ".venv" / "bin" / "darkroom"


def run_pipeline(images: Path, workflow: str, folder: Path, **settings: str) -> Cost:
    """The pipeline as a user without a Prefect server or a cloud account has it, on a machine that was set up."""
    home = folder / "home"
    if not settings:
        prepare(home)  # part of `make setup`
        assert prefect_service(home).wait_until_gone()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROBOFLOW_"))}
    environment |= {"DARKROOM_HOME": str(home), "DARKROOM_ENGINE_PYTHON": str(ENGINE / "python")} | settings
    return run([DARKROOM, "run", images, "--workflow", workflow, "--runs", folder / "runs"], environment)


def run_served(images: Path, workflow: str, folder: Path) -> Cost:
    """The pipeline as a user with a Prefect server has it; that server is not part of the time."""
    with prefect_service(folder / "served").use() as url:
        return run_pipeline(images, workflow, folder, PREFECT_API_URL=f"{url}/api")
