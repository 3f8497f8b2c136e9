"""The engine's process, seen from the server: started once, forking a worker whenever one is asked for."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from deployments.batch_server.engine.interface import EngineFailure

WORKER_SCRIPT = Path(__file__).with_name("worker.py")
START_TIMEOUT = 300.0
"""Seconds that importing the engine may take; minutes where nothing is compiled yet and the disk is slow."""
CONTROL_TIMEOUT = 20.0
"""Seconds that forking or burying a worker may take; milliseconds as a rule."""

_SECRETS = ("ROBOFLOW_API_KEY", "API_KEY")
_QUIET = {
    "TELEMETRY_OPT_OUT": "True",
    "TELEMETRY_USE_PERSISTENT_QUEUE": "False",
    "METRICS_ENABLED": "False",
    "DISABLE_VERSION_CHECK": "True",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MPLBACKEND": "Agg",
}
_ONE_CORE_EACH = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}


class WorkerDied(Exception):
    """The worker's end of its socket is closed."""


class Worker:
    """One forked worker: a socket that carries JSON, one message a line."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._sock = sock
        self._buffer = bytearray()

    def send(self, message: dict[str, Any], timeout: float) -> None:
        """Send one message.

        Raises:
            WorkerDied: Nobody takes it.
        """
        self._sock.settimeout(timeout)
        try:
            self._sock.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError as error:
            raise WorkerDied from error

    def receive(self, timeout: float) -> dict[str, Any]:
        """Wait for one message.

        Raises:
            WorkerDied: There will be none.
            TimeoutError: There was none in time.
        """
        self._sock.settimeout(timeout)
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = self._sock.recv(65536)
            except ConnectionError as error:
                raise WorkerDied from error
            if not data:
                raise WorkerDied
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Close the server's end; the worker ends when it notices."""
        self._sock.close()


class EngineProcess:
    """Starts the engine's process when first needed, and again when it is gone."""

    def __init__(self, python: Path, log_path: Path) -> None:
        self._python = python
        self._log_path = log_path
        self._turn = threading.Lock()  # one question at a time
        self._starting = threading.Lock()  # no start slips past a stop
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork_worker(self) -> Worker:
        """Give a new worker.

        Must be called by a thread that lives as long as the workers should: the kernel kills the engine's
        process together with the thread that started it, so that it never outlives the server.

        Raises:
            EngineFailure: The engine does not start.
        """
        with self._turn:
            if self._control is not None:
                with contextlib.suppress(OSError):
                    return self._fork()
            self._start()
            try:
                return self._fork()
            except OSError as error:
                raise self._failure("it ended right after its start") from error

    def bury(self, worker: Worker) -> str:
        """Kill a worker if need be, and tell how it ended."""
        worker.close()
        with self._turn, contextlib.suppress(OSError):
            ended: str = self._ask({"do": "bury", "pid": worker.pid})[0]["ended"]
            return ended
        return "with the engine's process"

    def stop(self) -> None:
        """Kill the engine's process and all workers, now and for good."""
        with self._starting:
            self._stopped = True
            process = self._process
        if process is not None:
            self._kill(process)
        with self._turn:  # whoever waited for an answer has noticed
            if self._control is not None:
                self._control.close()

    def _start(self) -> None:
        if self._process is not None:
            self._kill(self._process)
        with self._starting:
            if self._stopped:
                raise EngineFailure("the engine was stopped")
            self._launch()
        assert self._control is not None
        try:
            self._control.settimeout(START_TIMEOUT)
            hello = json.loads(self._control.recv(65536) or b"{}")
        except OSError as error:
            raise self._failure("it did not get ready") from error
        if "ready" not in hello:
            raise self._failure(hello.get("failed", "its process ended"))

    def _launch(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        try:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            with theirs, self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [self._python, "-I", "-u", WORKER_SCRIPT, str(theirs.fileno()), str(os.getpid())],
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the server; and one signal reaches all workers
                )
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error

    def _fork(self) -> Worker:
        answer, sockets = self._ask({"do": "fork"})
        return Worker(answer["forked"], sockets[0])

    def _ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], list[socket.socket]]:
        """One question, one answer, with the sockets that came along. Answers are short and come whole."""
        if self._control is None:
            raise ConnectionError("the engine's process was not started")
        control = self._control
        try:
            control.settimeout(CONTROL_TIMEOUT)
            control.sendall(json.dumps(question).encode("ascii") + b"\n")
            data, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
            if not data:
                raise ConnectionError("the engine's process is gone")
        except OSError:
            # An answer that comes after all would be taken for that to the next question: start afresh.
            self._control = None
            control.close()
            raise
        return json.loads(data), [socket.socket(fileno=each) for each in descriptors]

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _failure(self, why: str) -> EngineFailure:
        if self._stopped:
            return EngineFailure("the engine was stopped")
        return EngineFailure(f"the engine does not start with {self._python}: {why} (its log is {self._log_path})")


def _environment() -> dict[str, str]:
    """The engine's environment: nothing that calls out, one core a worker, and no key of the server's."""
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    return {"LOG_LEVEL": "ERROR"} | kept | _QUIET | _ONE_CORE_EACH
