"""Keeps one service up while somebody uses it.

:mod:`tasks.core.services` runs this file as a script (``python -I -S supervisor.py SPEC``), in a session of
its own, so that Ctrl-C in a terminal does not reach it. It needs the standard library only, which lets it
start in a few hundredths of a second. Users hold a shared lock on ``users.lock``; the kernel frees it when
they die, whatever the way, and the supervisor ends the service when no lock is left. The supervisor itself
holds an exclusive lock on ``supervisor.lock`` for as long as it lives, and the kernel kills its service when
it dies (on Linux).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

HOST = "127.0.0.1"
STARTING, READY, RESTARTING, PORT_TAKEN, FAILED, STOPPED = (
    "starting",
    "ready",
    "restarting",
    "port taken",
    "failed",
    "stopped",
)
FINAL = {PORT_TAKEN, FAILED, STOPPED}
"""Statuses that a supervisor gives just before its own end."""
POLL_SECONDS = 0.05
MAX_LOG_BYTES = 5_000_000
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
PR_SET_PDEATHSIG = 1

TROUBLE = re.compile(r"error|exception|failed|cannot|in use", re.IGNORECASE)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds, and how often a service may die."""

    start_timeout: float = 60.0
    """From the launch to the first healthy answer."""
    linger: float = 1.0
    """The service stays up for this long after its last user has left."""
    stop_seconds: tuple[float, float, float] = (10.0, 5.0, 5.0)
    """What it is given to end after SIGINT, after SIGTERM and after SIGKILL."""
    max_deaths: int = 5
    """It is not started again after more deaths than this within ``death_window``."""
    death_window: float = 60.0


@dataclass(frozen=True)
class Spec:
    """What to run; passed as JSON on the command line, so it holds no secret (the environment may)."""

    name: str
    command: Sequence[str]
    port: int
    state_dir: str
    cwd: str
    health_path: str
    limits: Limits
    lock_handle: int
    """The inherited descriptor that holds the lock on ``supervisor.lock``."""


@dataclass(frozen=True)
class Record:
    """``service.json``: what others may know about the service."""

    name: str
    status: str
    port: int
    url: str
    log: str
    pid: int = 0
    supervisor: int = 0
    started: str = ""
    reason: str = ""

    def write(self, folder: Path) -> None:
        """Replaces the record in ``folder`` by rename."""
        partial = folder / f"service.json.{os.getpid()}.part"
        partial.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        partial.replace(folder / "service.json")


def read_record(folder: Path) -> Record | None:
    """The record in ``folder``, or ``None`` when there is none that can be read."""
    try:
        return Record(**json.loads((folder / "service.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def try_lock(handle: int, kind: int) -> bool:
    """Takes a lock (``fcntl.LOCK_SH`` or ``LOCK_EX``) when it is free right now."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_healthy(port: int, path: str, timeout: float = 2.0) -> bool:
    """Whether a GET of ``path`` on the loopback ``port`` answers 2xx within ``timeout`` seconds."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((HOST, port), timeout=timeout) as connection:
            connection.sendall(request.encode("ascii"))
            # Read to the end: a server logs an error when its client leaves in the middle of an answer.
            with connection.makefile("rb") as answer:
                return re.match(rb"HTTP/1\.[01] 2\d\d", answer.read(65536)) is not None
    except OSError:
        return False


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the loopback ``port`` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def last_meaningful_line(log: Path, offset: int) -> str:
    """The last line after ``offset`` bytes that speaks of trouble, else the last line, or nothing."""
    with log.open("rb") as file:
        file.seek(max(offset, log.stat().st_size - 65536))
        text = ESCAPES.sub("", file.read().decode("utf-8", "replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and " supervisor: " not in line]
    troubled = [line for line in lines if TROUBLE.search(line)]
    return (troubled or lines or [""])[-1][:300]


class Supervisor:
    """Runs the service of one :class:`Spec` until nobody uses it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.limits = spec.limits
        self.folder = Path(spec.state_dir)
        self.log = self.folder / f"{spec.name}.log"
        self.log_offset = self._open_log()
        self.users = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        self.unused_since: float | None = None
        self.asked_to_stop = False
        self.was_ready = False
        self.deaths: list[float] = []
        self.record = Record(
            name=spec.name,
            status=STARTING,
            port=spec.port,
            url=f"http://{HOST}:{spec.port}",
            log=str(self.log),
            supervisor=os.getpid(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def run(self) -> None:
        """Starts the service, again when it dies, and returns once it is gone for good."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        while True:
            try:
                child = self._launch()
            except OSError as error:
                return self._publish(FAILED, reason=f"{self.spec.command[0]}: {error.strerror}")
            ending = self._watch(child)
            self._end(child)
            if ending == STOPPED:
                return self._publish(STOPPED)
            if not self.was_ready:
                return self._give_up_start(ending)
            if not self._may_restart(ending):
                return None

    def _open_log(self) -> int:
        """Sends this process's output to the log, a big old one set aside; gives the log's size."""
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
        return self.log.stat().st_size

    def _ask_to_stop(self, *_: object) -> None:
        self.asked_to_stop = True

    def _say(self, text: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        os.write(2, f"{now} supervisor: {text}\n".encode())

    def _publish(self, status: str, *, pid: int = 0, reason: str = "") -> None:
        self.record = replace(self.record, status=status, pid=pid, reason=reason)
        self.record.write(self.folder)

    def _launch(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            list(self.spec.command),
            stdin=subprocess.DEVNULL,
            cwd=self.spec.cwd,
            process_group=0,
            preexec_fn=_tie_to_parent(os.getpid()),  # noqa: PLW1509  this process has one thread
        )
        self._publish(RESTARTING if self.was_ready else STARTING, pid=child.pid)
        return child

    def _watch(self, child: subprocess.Popen[bytes]) -> str:
        """Waits for the end of the service's use or of its life.

        Returns:
            ``STOPPED`` when it should end, else what went wrong.
        """
        deadline = time.monotonic() + self.limits.start_timeout
        ready = False
        while not self._should_stop():
            if (status := child.poll()) is not None:
                return f"ended with signal {-status}" if status < 0 else f"ended with status {status}"
            if not ready and is_healthy(self.spec.port, self.spec.health_path):
                ready = self.was_ready = True
                self._publish(READY, pid=child.pid)
            if not ready and time.monotonic() > deadline:
                return f"not healthy within {self.limits.start_timeout:g} s"
            time.sleep(POLL_SECONDS)
        return STOPPED

    def _should_stop(self) -> bool:
        """Whether it was asked to stop or nobody has used it for the time to linger.

        In the latter case the exclusive lock is kept: whoever comes now waits until this process is gone.
        """
        if self.asked_to_stop:
            return True
        if not try_lock(self.users, fcntl.LOCK_EX):
            self.unused_since = None
            return False
        now = time.monotonic()
        self.unused_since = self.unused_since or now
        if now - self.unused_since >= self.limits.linger:
            return True
        fcntl.flock(self.users, fcntl.LOCK_UN)
        return False

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Ends the service, gently at first, and whatever it left behind in its process group."""
        for number, seconds in zip(STOP_SIGNALS, self.limits.stop_seconds, strict=True):
            if child.poll() is not None:
                break
            child.send_signal(number)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._say(f"{self.spec.name} has not ended {seconds:g} s after {signal.Signals(number).name}")
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)

    def _give_up_start(self, ending: str) -> None:
        if not port_is_free(self.spec.port):
            self._say(f"port {self.spec.port} was taken by another process")
            return self._publish(PORT_TAKEN)
        line = last_meaningful_line(self.log, self.log_offset)
        return self._publish(FAILED, reason=f"{ending}: {line}" if line else ending)

    def _may_restart(self, ending: str) -> bool:
        """Notes a death, waits, and says whether to start again: not after too many, not without users."""
        now = time.monotonic()
        self.deaths = [death for death in self.deaths if now - death < self.limits.death_window] + [now]
        if len(self.deaths) > self.limits.max_deaths:
            reason = f"died {len(self.deaths)} times within {self.limits.death_window:g} s, last: {ending}"
            self._say(f"{self.spec.name} {reason}; giving up")
            self._publish(FAILED, reason=reason)
            return False
        pause = min(0.1 * 2 ** (len(self.deaths) - 1), 5.0)
        self._say(f"{self.spec.name} {ending}; starting it again on port {self.spec.port} in {pause:g} s")
        self._publish(RESTARTING, reason=ending)
        while time.monotonic() < now + pause:
            if self._should_stop():
                self._publish(STOPPED)
                return False
            time.sleep(POLL_SECONDS)
        return True


def _tie_to_parent(parent: int) -> Callable[[], None]:
    """What a new child does before it becomes the service: die with its parent, and take SIGINT again.

    A process started in the background by a shell ignores SIGINT and would hand that on.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def tie() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return tie


def main() -> None:
    """Leaves the caller's session and process tree, then supervises what ``sys.argv[1]`` describes."""
    values = json.loads(sys.argv[1])
    spec = Spec(**values | {"limits": Limits(**values["limits"])})
    if os.fork():
        os._exit(0)
    os.setsid()
    os.set_inheritable(spec.lock_handle, False)
    Supervisor(spec).run()


if __name__ == "__main__":
    main()
