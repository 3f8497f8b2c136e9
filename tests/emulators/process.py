"""An emulator as a child process that ends with its block, or with this process, whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.commands import ROOT
from tests.waiting import wait_for

HOME = ROOT / ".venv-emulators"
PYTHON = HOME / "bin" / "python"
START_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


@contextmanager
def running(
    command: Sequence[str | Path], answers: Callable[[], bool], log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The process of ``command``, once ``answers`` is true; gives its id.

    Args:
        command: what to start; it is killed at the end, so it must have nothing to lose.
        answers: whether it serves already.
        log: where its output goes; part of the message when it does not come up.
        variables: added to its environment.
    """
    assert PYTHON.exists(), "the storage emulators are not installed: run make .venv-emulators/ready"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, **(variables or {})},
            preexec_fn=_die_with_parent,
        )

    def is_up() -> bool:
        ended = process.poll()
        assert ended is None, f"{command[0]} ended with status {ended}:\n{_tail(log)}"
        return answers()

    try:
        wait_for(is_up, f"{command[0]} to answer", START_SECONDS)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def speaks_http(port: int) -> bool:
    """Whether an HTTP server on this port answers, with whatever status."""
    try:
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=5)
    except httpx.TransportError:
        return False
    return True


def speaks_ssh(port: int) -> bool:
    """Whether an SSH server on this port introduces itself."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
