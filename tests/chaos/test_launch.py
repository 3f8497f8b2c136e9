import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = """
import os, sys
from pathlib import Path

STATUS = 3

def main():
    folder = Path(sys.argv[1])
    for name in ("a", "b"):
        part = folder / f"{name}.part"
        with part.open("w") as file:
            file.write(name)
            os.fsync(file.fileno())
        part.replace(folder / name)
    os.link(folder / "a", folder / "c")
    with (folder / "d").open("ab") as log:
        log.write(b"first")
    Path(sys.argv[2]).rename(sys.argv[2] + ".away")
    return STATUS
"""
POINTS = ["fsync a.part", "replace a", "fsync b.part", "replace b", "link c", "append d first"]


@pytest.fixture
def launch(tmp_path):
    """Runs the sample entry under the launcher; gives its status and the files it left."""
    (tmp_path / "entry.py").write_text(ENTRY)
    runs, outside = tmp_path / "runs", tmp_path / "outside"
    runs.mkdir()
    outside.touch()
    root = Path(__file__).parents[2]

    def start(*options: str) -> tuple[int, list[str]]:
        command = [sys.executable, "-m", "tests.chaos.launch", "--under", str(runs), "--entry", "entry:main"]
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
        done = subprocess.run(
            [*command, *options, "--", str(runs), str(outside)],
            env=environment,
            check=False,
            capture_output=True,
            timeout=20,
        )
        return done.returncode, sorted(path.name for path in runs.iterdir())

    return start


def test_launch_counts_the_points_below_the_folder(launch, tmp_path):
    status, files = launch("--count-to", str(tmp_path / "points.json"))
    assert (status, files) == (3, ["a", "b", "c", "d"])
    assert json.loads((tmp_path / "points.json").read_text()) == POINTS


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["0"], ["a.part"]),
        (["1"], ["a.part"]),
        (["1", "--after"], ["a"]),
        (["3"], ["a", "b.part"]),
        (["4"], ["a", "b"]),
        (["4", "--after"], ["a", "b", "c"]),
        (["5"], ["a", "b", "c", "d"]),
        (["1", "--only", "replace *"], ["a", "b.part"]),
    ],
)
def test_launch_kills_before_or_after_the_point(launch, options, left):
    assert launch("--kill-at-fs", *options) == (-signal.SIGKILL, left)


def test_launch_beyond_the_last_point_runs_to_the_end(launch):
    assert launch("--kill-at-fs", "99") == (3, ["a", "b", "c", "d"])


@pytest.mark.parametrize(("options", "left"), [([], b""), (["--after"], b"fi")])
def test_launch_kills_before_or_within_an_appended_line(launch, tmp_path, options, left):
    status, _ = launch("--kill-at-fs", "0", "--only", "append d *", *options)
    assert status == -signal.SIGKILL
    assert (tmp_path / "runs" / "d").read_bytes() == left


def test_launch_gives_a_constant_another_value_before_it_is_used(launch):
    assert launch("--constant", "entry:STATUS=7")[0] == 7


def test_launch_refuses_a_constant_that_is_not_there(launch):
    assert launch("--constant", "entry:STATE=7") == (1, [])
