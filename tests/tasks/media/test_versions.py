import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.media.versions import BATCH, VersionIndex, version_of
from tasks.sources.base import MediaObject

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 9, 15, 12, 0, 0, 123_456, tzinfo=UTC)
FILL = """
import os
from tasks.core.errors import LocalFault
from tasks.media.versions import VersionIndex
index = VersionIndex()
index._database.execute("PRAGMA cache_size=10")
try:
    for number in range(40_000):
        index.add(f"key-{number}", "v")
except LocalFault as error:
    print(error)
held = [os.readlink(f"/proc/self/fd/{handle}") for handle in range(3, 20) if os.path.exists(f"/proc/self/fd/{handle}")]
print("held:", *held)
print("listed:", *os.listdir(os.environ["SQLITE_TMPDIR"]), flush=True)
os.kill(os.getpid(), 9)
"""
WITHOUT_SPACE = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
"""


@pytest.mark.parametrize(
    ("item", "version"),
    [
        (MediaObject("a", 3, "tag", NOON), "tag"),
        (MediaObject("a", 3, None, NOON), "3@1789473600123456"),
        (MediaObject("a", 3, None, None), "3"),
        (MediaObject("a", None, None, NOON), "@1789473600123456"),
        (MediaObject("a", None, None, None), ""),
        (MediaObject("a", 0, None, datetime(1969, 12, 31, tzinfo=UTC)), "0@-86400000000"),
    ],
)
def test_version_of_takes_the_tag_else_size_and_time(item: MediaObject, version: str) -> None:
    assert version_of(item) == version


def test_index_gives_the_last_version_of_each_key() -> None:
    with VersionIndex() as index:
        for number in range(3 * BATCH):
            index.add(f"key-{number}", f"v{number}")
        index.add("key-0", "written again")  # the first one is on disk by now
        index.add("key-1", "once")
        index.add("key-1", "twice")
        found = [index.get(f"key-{number}") for number in (0, 1, 2, BATCH, 3 * BATCH - 1, 3 * BATCH)]
    assert found == ["written again", "twice", "v2", f"v{BATCH}", f"v{3 * BATCH - 1}", None]


def test_index_forgets_what_is_discarded() -> None:
    with VersionIndex() as index:
        for number in range(BATCH + 1):
            index.add(f"key-{number}", "v")
        for key in ("key-0", f"key-{BATCH}", "key-unknown"):
            index.discard(key)
        assert [index.get(f"key-{number}") for number in (0, 1, BATCH)] == [None, "v", None]


def test_index_gives_everything_in_the_order_of_the_keys() -> None:
    with VersionIndex() as index:
        for key in ("b", "a\udcff", "日本", "a", "B"):
            index.add(key, f"version of {key!r}")
        items = list(index.items())
    assert items == [(key, f"version of {key!r}") for key in ("B", "a", "a\udcff", "b", "日本")]


@pytest.mark.parametrize("key", ["", "日本/写真.png", "a\udcff.png", "quote'\"; --", "nul\0l"])
def test_index_takes_any_key(key: str) -> None:
    with VersionIndex() as index:
        assert index.get(key) is None
        index.add(key, "v")
        for number in range(BATCH):
            index.add(f"other-{number}", "w")
        assert index.get(key) == "v"


def filled(folder: Path, before: str = "") -> str:
    """What a process says that fills an index in ``folder`` and is killed then."""
    environment = {**os.environ, "SQLITE_TMPDIR": str(folder)}
    command = [sys.executable, "-c", before + FILL]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (-9, "")
    return ran.stdout


def test_index_of_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    said = filled(tmp_path)
    assert f"held: {tmp_path}/" in said or f" {tmp_path}/" in said  # it was on disk
    assert "listed:\n" in said
    assert list(tmp_path.iterdir()) == []


def test_index_says_when_the_disk_is_full(tmp_path: Path) -> None:
    assert "the temporary folder cannot hold an index of the files" in filled(tmp_path, WITHOUT_SPACE)
