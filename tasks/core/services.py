"""Services of our own, started on the spot and shared by all runs that need them at the same time.

A service lives in a state folder::

    users.lock       every user holds a shared lock on it; the kernel frees it when a user dies
    start.lock       held for the moment of starting one
    supervisor.lock  held by the supervisor for as long as it lives
    service.json     port, url, process ids, status; written by rename
    <name>.log       what the service and its supervisor said

The process that looks after the service is :mod:`tasks.core.supervisor`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tasks.core import supervisor
from tasks.core.errors import ServiceFailed
from tasks.core.supervisor import HOST, Limits, Record, Spec

# Below the range that outgoing connections take their ports from: a service that died finds its port free.
PORTS = range(20_000, 32_000)
DEFAULT_LIMITS = Limits()
MAX_STARTS = 5
POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0


class ManagedService:
    """A server process on a free loopback port, started when none is up and ended when nobody uses it.

    Args:
        name: short name, for the log's file name and messages.
        command: gives the command for a port. Other users of the machine can read it: no secrets.
        env: the service's whole environment.
        state_dir: folder of the service's state; one service a folder.
        health_path: path that answers 2xx to GET once the service can be used.
        limits: time limits of start, stop and use.
        port: the port to give it; by default one that is free.
        cwd: the service's working folder; ``state_dir`` by default.
        clock: gives seconds, monotonic.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        env: Mapping[str, str],
        state_dir: Path,
        health_path: str,
        limits: Limits = DEFAULT_LIMITS,
        port: int | None = None,
        cwd: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.state_dir = state_dir.absolute()
        self._command = command
        self._env = dict(env)
        self._health_path = health_path
        self._limits = limits
        self._port = port
        self._cwd = (cwd or state_dir).absolute()
        self._clock = clock
        self._sleep = sleep
        self._prestarted: int | None = None

    @property
    def log(self) -> Path:
        """The service's log file."""
        return self.state_dir / f"{self.name}.log"

    def record(self) -> Record | None:
        """What ``service.json`` says, which may be out of date."""
        return supervisor.read_record(self.state_dir)

    def prestart(self) -> None:
        """Begins to start the service and returns; it counts as used until the next :meth:`use` ends.

        Raises:
            ServiceFailed: another process keeps the service's locks.
        """
        if self._prestarted is None:
            self._prestarted = self._enter()

    def is_up(self) -> bool:
        """Whether it answers now; nothing is started."""
        record = self.record()
        return record is not None and self._is_healthy(record)

    @contextmanager
    def use(self) -> Iterator[str]:
        """Gives the service's base URL once it is healthy; the service stays up inside the block at least.

        Leaving does not wait for the service's end, see :meth:`wait_until_gone`.

        Raises:
            ServiceFailed: it does not start; the message names the reason and the log.
        """
        self.prestart()
        handle, self._prestarted = self._prestarted, None
        assert handle is not None
        try:
            yield self._wait_until_ready()
        finally:
            os.close(handle)

    def release(self) -> None:
        """Takes a :meth:`prestart` back that no :meth:`use` followed."""
        if self._prestarted is not None:
            os.close(self._prestarted)
            self._prestarted = None

    def wait_until_gone(self, timeout: float = 30.0) -> bool:
        """Waits for the service's end; ``False`` when it is still up after ``timeout`` seconds."""
        deadline = self._clock() + timeout
        while self._is_supervised():
            if self._clock() > deadline:
                return False
            self._sleep(POLL_SECONDS)
        return True

    def stop(self, *, wait: bool = True, timeout: float = 30.0) -> bool:
        """Ends the service even if somebody uses it.

        Args:
            wait: return only when it is gone.
            timeout: seconds to wait at most.

        Returns:
            Whether it is gone.
        """
        with self._starting():
            record = self.record()
            if record is not None and record.supervisor and not self._supervisor_lock_is_free():
                with suppress(ProcessLookupError):
                    os.kill(record.supervisor, signal.SIGTERM)
        return self.wait_until_gone(timeout if wait else 0.0)

    def _enter(self) -> int:
        """Takes the user's lock, sees to it that a supervisor lives, and gives the lock's descriptor."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        handle = self._lock("users.lock", fcntl.LOCK_SH)
        try:
            self._start_if_dead(afresh=True)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _lock(self, name: str, kind: int) -> int:
        # A supervisor that is ending its service keeps users out until it is gone.
        seconds = self._limits.start_timeout
        return _locked_handle(self.state_dir / name, kind, seconds, self._clock, self._sleep)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        handle = self._lock("start.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(handle)

    def _supervisor_lock_is_free(self) -> bool:
        handle = os.open(self.state_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            return supervisor.try_lock(handle, fcntl.LOCK_EX)
        finally:
            os.close(handle)

    def _is_supervised(self) -> bool:
        if not self.state_dir.is_dir():
            return False
        # Looked at under start.lock only: two lookers would take each other for a supervisor.
        with self._starting():
            return not self._supervisor_lock_is_free()

    def _start_if_dead(self, *, afresh: bool) -> bool:
        """Starts a supervisor when none lives; with ``afresh`` even where the last start failed."""
        with self._starting():
            handle = os.open(self.state_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not self._take_over(handle, wait=afresh):
                    return False
                if not afresh and self._status() == supervisor.FAILED:
                    return False
                self._launch(handle)
            finally:
                os.close(handle)
        return True

    def _take_over(self, handle: int, *, wait: bool) -> bool:
        """Takes the supervisor's lock; with ``wait`` also from one that has said its last word."""
        deadline = self._clock() + GRACE_SECONDS
        while not supervisor.try_lock(handle, fcntl.LOCK_EX):
            if not wait or self._status() not in supervisor.FINAL or self._clock() > deadline:
                return False
            self._sleep(POLL_SECONDS / 5)
        return True

    def _status(self) -> str:
        record = self.record()
        return record.status if record is not None else ""

    def _launch(self, lock_handle: int) -> None:
        """Starts a supervisor, which inherits the lock that proves it alive."""
        port = self._port or free_port()
        spec = Spec(
            name=self.name,
            command=list(self._command(port)),
            port=port,
            state_dir=str(self.state_dir),
            cwd=str(self._cwd),
            health_path=self._health_path,
            limits=self._limits,
            lock_handle=lock_handle,
        )
        url = f"http://{HOST}:{port}"
        Record(self.name, supervisor.STARTING, port, url, str(self.log)).write(self.state_dir)
        subprocess.run(
            [sys.executable, "-I", "-S", supervisor.__file__, json.dumps(asdict(spec))],
            env=self._env,
            cwd=self.state_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock_handle],
            check=True,
            timeout=GRACE_SECONDS * 2,
        )

    def _wait_until_ready(self) -> str:
        # The supervisor knows better why a start took too long, so it gets to say it.
        deadline = self._clock() + self._limits.start_timeout + GRACE_SECONDS
        starts = 1
        while True:
            record = self.record()
            if record is not None and record.status == supervisor.FAILED:
                raise self._failed(record.reason)
            if record is not None and record.status == supervisor.PORT_TAKEN and self._port is not None:
                raise self._failed(f"port {self._port} is taken by another process")
            if record is not None and record.status == supervisor.READY and self._is_healthy(record):
                return record.url
            if self._start_if_dead(afresh=False):
                starts += 1
            if starts > MAX_STARTS:
                raise self._failed(f"it ended {MAX_STARTS} times before it could be used")
            if self._clock() > deadline:
                raise self._failed(f"not healthy within {self._limits.start_timeout:g} s")
            self._sleep(POLL_SECONDS)

    def _is_healthy(self, record: Record) -> bool:
        return supervisor.is_healthy(record.port, self._health_path)

    def _failed(self, reason: str) -> ServiceFailed:
        return ServiceFailed(f"{self.name} does not start: {reason} (log: {self.log})")


def _locked_handle(
    file: Path, kind: int, timeout: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> int:
    """Opens ``file`` and takes a lock on it, which goes when the descriptor given back is closed."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = clock() + timeout
    while not supervisor.try_lock(handle, kind):
        if clock() > deadline:
            os.close(handle)
            raise ServiceFailed(f"another process keeps {file} locked: end it, then try again")
        sleep(POLL_SECONDS / 5)
    return handle


def free_port() -> int:
    """A loopback port nobody listens on."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        if supervisor.port_is_free(port):
            return port
