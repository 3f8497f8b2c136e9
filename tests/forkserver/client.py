"""Starts modules of the project as child processes, by a fork of one that has imported them."""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from tests.forkserver.server import NUMBER

ROOT = Path(__file__).parents[2]


@cache
def _control() -> socket.socket:
    """The way to the fork server, which is started at the first use and ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ROBOFLOW_"))}
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.forkserver.server", str(theirs.fileno())],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT), "TERM": "dumb"},
            pass_fds=[theirs.fileno()],
        )
    ours.set_inheritable(False)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


class ForkedModule(subprocess.Popen[str]):
    """``python -m MODULE ARGUMENTS``, started from the fork server; in all else a child process like any other.

    Args:
        module: what to run.
        arguments: its arguments.
        cwd: the folder to run it in.
        env: all of its environment.
        streams: ``stdin``, ``stdout`` and ``stderr``, as for ``Popen``; text.
    """

    def __init__(self, module: str, *arguments: str, cwd: Path, env: Mapping[str, str], **streams: Any) -> None:
        assert set(streams) <= {"stdin", "stdout", "stderr"}, "a fork takes nothing else"
        self._asked = {
            "module": module,
            "arguments": arguments,
            "folder": str(Path(cwd).absolute()),
            "environment": dict(env),
        }
        super().__init__([module, *arguments], text=True, **streams)

    def _execute_child(self, *given: Any) -> None:
        """Has the child forked; amid what is given are both ends of each stream's pipe, or -1."""
        pipes: tuple[int, ...] = given[10:16]
        streams = [number if handle == -1 else handle for number, handle in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._end, told = os.pipe()
        try:
            socket.send_fds(_control(), [json.dumps(self._asked).encode()], [*streams, told])
        finally:
            os.close(told)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self.pid = self._told()
        self._child_created = True

    def _told(self) -> int:
        """The next number from whoever waits for the child."""
        told = os.read(self._end, NUMBER.size)
        assert told, "the fork server has ended"
        number: int = NUMBER.unpack(told)[0]
        return number

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """As ``os.waitpid`` on the child."""
        if wait_flags == os.WNOHANG and not select.select([self._end], [], [], 0)[0]:
            return 0, 0
        status = self._told()
        os.close(self._end)
        return self.pid, status

    def _internal_poll(self, *_unused: Any, **_at_end: Any) -> int | None:
        """The child's status, where it is there already."""
        lock: Lock = self._waitpid_lock  # type: ignore[attr-defined]
        if not lock.acquire(blocking=False):
            return self.returncode  # another thread waits for it
        try:
            pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        finally:
            lock.release()
        return self.returncode
