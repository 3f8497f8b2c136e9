"""The command line as a child process, in an environment without the settings of this machine's user."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.forkserver.client import ROOT as ROOT
from tests.forkserver.client import ForkedModule

LAST_LINE = re.compile(r"^run ([0-9a-f]{16}): (\d+) processed, (\d+) failed, (\d+) rejected, \d+\.\d s -> (.+)$")
ENGINE_PYTHON = ROOT / ".venv-engine" / "bin" / "python"
LONGEST = 120.0


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    status: int
    output: str
    errors: str

    @property
    def last_line(self) -> re.Match[str]:
        """The line that ``darkroom run`` promises, taken apart."""
        found = LAST_LINE.match((self.output.strip().splitlines() or [""])[-1])
        assert found, f"no last line; status {self.status}\n{self.output}\n{self.errors}"
        return found


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's variables without its settings for Prefect and the platforms."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROBOFLOW_"))}
    return kept | {"PYTHONPATH": str(ROOT), "DARKROOM_ENGINE_PYTHON": str(ENGINE_PYTHON)} | extra


def darkroom(*arguments: str, cwd: Path, **extra: str) -> Outcome:
    """Runs one ``darkroom`` command to its end."""
    with started(*arguments, cwd=cwd, **extra) as child:
        output, errors = child.communicate(timeout=LONGEST)
    return Outcome(child.returncode, output, errors)


@contextmanager
def started(*arguments: str, cwd: Path, **extra: str) -> Iterator[ForkedModule]:
    """A ``darkroom`` command under way; what is left of it at the end is killed."""
    pipe = subprocess.PIPE
    with ForkedModule(
        "flows.cli", *arguments, cwd=cwd, env=clean_environment(**extra), stdout=pipe, stderr=pipe
    ) as child:
        try:
            yield child
        finally:
            child.kill()
