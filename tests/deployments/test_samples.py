import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [ROOT / ".venv-engine" / "bin" / "python", ROOT / "deployments" / "samples.py"]

pytestmark = pytest.mark.engine


def make_samples(*arguments: object) -> str:
    command = [str(part) for part in (*COMMAND, *arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def state_of(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_the_tree_has_photographs_in_folders_and_is_written_once(tmp_path: Path):
    assert make_samples(tmp_path / "a") == f"12 photographs in {tmp_path / 'a'}\n"
    before = state_of(tmp_path / "a")
    assert len(before) == 12
    assert len({path.parent for path in before}) > 1
    for path in before:
        with Image.open(path) as image:
            assert max(image.size) <= 1024
    make_samples(tmp_path / "a")
    assert state_of(tmp_path / "a") == before


def test_a_missing_photograph_is_made_again_with_the_same_bytes(tmp_path: Path):
    make_samples(tmp_path)
    before = state_of(tmp_path)
    victim = tmp_path / "space" / "rocket.jpg"
    victim.unlink()
    make_samples(tmp_path)
    after = state_of(tmp_path)
    assert after.pop(victim)[1] == before.pop(victim)[1]
    assert after == before


def test_many_photographs_are_distinct_and_of_the_size_asked_for(tmp_path: Path):
    make_samples(tmp_path, "--count", 40, "--size-kb", 20)
    contents = [data for _, data in state_of(tmp_path).values()]
    assert len(set(contents)) == 40
    assert all(14_000 < len(data) < 28_000 for data in contents)
