"""The command line as a child process, in an environment without the settings of this machine's user."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=cwd,
        env=clean_environment(**extra),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
