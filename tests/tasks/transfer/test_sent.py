import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.sources.base import MediaObject
from tasks.transfer.sent import PREFIX, SentFiles

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 9, 15, 12, tzinfo=UTC)
ITEM = MediaObject("export/a", 3, None, NOON)


def test_sent_file_is_known_in_its_version_only(tmp_path: Path) -> None:
    with SentFiles(tmp_path, "s3://b/p") as sent:
        assert not sent
        sent.add(ITEM)
    with SentFiles(tmp_path, "s3://b/p") as sent:
        assert sent
        assert sent.has(ITEM)
        assert not sent.has(MediaObject("export/a", 4, None, NOON))
        assert not sent.has(MediaObject("export/a", 3, None, NOON.replace(hour=13)))
        assert not sent.has(MediaObject("export/b", 3, None, NOON))
        sent.add(MediaObject("export/a", 4, None, NOON))
        assert not sent.has(ITEM)


def test_sent_files_are_known_to_each_place_alone(tmp_path: Path) -> None:
    with SentFiles(tmp_path, "s3://b/p") as sent, SentFiles(tmp_path, "s3://b/q") as other:
        sent.add(ITEM)
        assert not other.has(ITEM)
    assert all(path.name.startswith(PREFIX) for path in tmp_path.iterdir())


def test_sent_files_are_kept_when_work_is_broken_off(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), SentFiles(tmp_path, "s3://b/p") as sent:
        sent.add(ITEM)
        raise ZeroDivisionError
    with SentFiles(tmp_path, "s3://b/p") as sent:
        assert sent.has(ITEM)
        sent.clear()
        assert not sent


SEND_AND_DIE = """
import os, sys
from pathlib import Path
from tasks.sources.base import MediaObject
from tasks.transfer.sent import SentFiles
sent = SentFiles(Path(sys.argv[1]), "s3://b/p")
for number in range(450):
    sent.add(MediaObject(f"{number}", 3, None, None))
os.kill(os.getpid(), 9)
"""


def test_killed_process_has_noted_most_of_what_it_sent(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", SEND_AND_DIE, str(tmp_path)], cwd=ROOT, timeout=60)
    assert died.returncode == -9
    with SentFiles(tmp_path, "s3://b/p") as sent:
        known = [sent.has(MediaObject(f"{number}", 3, None, None)) for number in range(450)]
    assert known == [True] * 400 + [False] * 50


def test_damaged_note_is_begun_anew(tmp_path: Path) -> None:
    with SentFiles(tmp_path, "s3://b/p") as sent:
        sent.add(ITEM)
    (note,) = tmp_path.iterdir()
    note.write_bytes(b"no database" * 1000)
    with SentFiles(tmp_path, "s3://b/p") as sent:
        assert not sent.has(ITEM)
