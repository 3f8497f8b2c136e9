"""The scripts for shells, tried in a real bash."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.command_line.arguments import SHELLS
from flows.command_line.commands import COMMANDS
from flows.command_line.completion import script_for
from tests.commands import darkroom, started

COMPLETE = """
source "$1"; shift
complete -p darkroom > /dev/null || exit 3
COMP_WORDS=(darkroom "$@"); COMP_CWORD=$#
"$(complete -p darkroom | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
[ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash, as the command prints it."""
    folder = tmp_path_factory.mktemp("completion")
    printed = darkroom("completion", "bash", cwd=folder)
    assert (printed.status, printed.errors) == (0, "")
    file = folder / "darkroom.bash"
    file.write_text(printed.output)
    return file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with things to name."""
    (tmp_path / "photos").mkdir()
    for name in ("phone.txt", "references.jsonl", "mine.json"):
        (tmp_path / name).touch()
    return tmp_path


def completed(script: Path, place: Path, *words: str) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(script), *words],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_bash_completes_commands(script: Path, place: Path) -> None:
    assert completed(script, place, "") == sorted(COMMANDS)
    assert completed(script, place, "re") == ["reap", "replay"]
    assert completed(script, place, "--v") == ["--version"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--tr"], ["--transfer"]),
        (["run", "--dry"], ["--dry-run"]),
        (["run", "x", "--transfer", ""], ["auto", "reference", "upload"]),
        (["run", "ph"], ["phone.txt", "photos"]),
        (["run", "x", "--runs", "ph"], ["photos"]),
        (["run", "x", "--workflow", "m"], ["mine.json"]),
        (["stage", "x", "--references", "ref"], ["references.jsonl"]),
        (["compile", "m/1", "--device", "nvidia-l4"], ["nvidia-l4", "nvidia-l40s"]),
        (["server", "--plan"], ["--plan-without"]),
        (["server", "--data", "ph"], ["photos"]),
        (["server", "--plan-without", "g"], ["gpu"]),
        (["webhooks", "--pub"], ["--publishable-key"]),
        (["completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes_what_may_follow(script: Path, place: Path, words: list[str], expected: list[str]) -> None:
    assert completed(script, place, *words) == expected


def test_reader_that_stops_at_once_is_no_error(tmp_path: Path) -> None:
    with started("completion", "bash", cwd=tmp_path) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == ""
        assert child.wait(timeout=30) == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_script_for_every_shell_names_the_commands(shell: str) -> None:
    script = script_for(shell)
    assert [name for name in COMMANDS if name not in script] == []
    if shell in ("bash", "zsh", "fish") and shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
