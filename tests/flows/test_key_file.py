from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

from flows.key_file import KeyFile
from tests.commands import ROOT

HOLDS = """
import signal, sys
from pathlib import Path
from flows.key_file import KeyFile
print(KeyFile(Path(sys.argv[1]), "secret").path, flush=True)
signal.pause()
"""


def test_file_and_its_folder_are_private_and_the_file_goes_with_its_use(tmp_path: Path) -> None:
    held = KeyFile(tmp_path / "home" / "credentials", "secret")
    assert held.path.read_text() == "secret"
    assert (stat.S_IMODE(held.path.stat().st_mode), stat.S_IMODE(held.path.parent.stat().st_mode)) == (0o600, 0o700)
    held.close()
    assert list(held.path.parent.iterdir()) == []


def test_file_of_a_killed_process_is_swept_away_at_the_next_use_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        KeyFile(tmp_path, "ours").close()
        assert theirs.read_text() == "secret"
        process.send_signal(signal.SIGKILL)
    assert theirs.exists()
    KeyFile(tmp_path, "ours").close()
    assert list(tmp_path.iterdir()) == []
