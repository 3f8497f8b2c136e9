"""The two commands of the README in a fresh clone, without environments: what a user does first."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.commands import LAST_LINE, ROOT, clean_environment
from tests.one_authority import all_authorities

# It begins with the long tests, beside which it waits for package files and compilers.
pytestmark = [pytest.mark.engine, pytest.mark.prefect_server]

LONGEST = 900.0
SMOKE = "tests/test_architecture.py tests/tasks/core/test_identity.py tests/tasks/steps/test_launch.py"
CLOSING_LINE = re.compile(r"^(\d+) passed in \d+\.\d+s", re.MULTILINE)


@pytest.mark.timeout(2 * LONGEST)
def test_clone_does_its_main_job_and_passes_its_tests_without_anything_installed(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n")  # the checkout may be another user's
    variables = os.environ | {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", clone], check=True, env=variables)
    assert not list(clone.glob(".venv*"))
    done = make(clone, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    last = LAST_LINE.match(done.stdout.strip().splitlines()[-1])
    assert last, done.stdout
    key, processed, failed, rejected, report = last.groups()
    assert (int(processed) > 10, failed, rejected) == (True, "0", "0")
    assert (clone / report).is_file()
    assert pq.read_table(clone / "runs" / key / "results.parquet").num_rows == int(processed)
    tested = make(clone, "test", f"TESTS={SMOKE}", "JOBS=0", path=without_npm(tmp_path / "bin"))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "npm is not installed: the tests of Azure storage are skipped" in tested.stdout
    passed = CLOSING_LINE.search(tested.stdout)
    assert passed, tested.stdout
    assert int(passed[1]) > 50


def without_npm(links: Path) -> str:
    """The search path of a machine that has not got this optional tool, whose packages would take longest."""
    folders = []
    for number, folder in enumerate(os.environ["PATH"].split(os.pathsep)):
        if (Path(folder) / "npm").exists():
            others = [program for program in Path(folder).iterdir() if program.name != "npm"]
            folder = str(links / str(number))
            Path(folder).mkdir(parents=True)
            for program in others:
                (Path(folder) / program.name).symlink_to(program)
        folders.append(folder)
    return os.pathsep.join(folders)


def make(clone: Path, *words: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    """A command of the README, in an environment that does not know of this checkout."""
    environment = {
        name: value
        for name, value in all_authorities(clean_environment()).items()
        if not name.startswith(("PYTEST_", "DARKROOM_", "MAKE", "VIRTUAL_ENV")) and name != "PYTHONPATH"
    }
    environment["PATH"] = os.pathsep.join(
        folder for folder in path.split(os.pathsep) if not folder.startswith(str(ROOT))
    )
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )
