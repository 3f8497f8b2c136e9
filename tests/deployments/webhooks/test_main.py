import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import httpx
import pytest

from deployments.batch_server.serving import address, bind, serve
from deployments.webhooks.app import create_app
from deployments.webhooks.settings import ReceiverSettings
from flows.notifications import TryAgain
from tests.commands import clean_environment
from tests.deployments.webhooks.running import (
    RUN,
    SECRET,
    SENDER,
    TOKENS,
    Receiver,
    ScriptedRuns,
    ingest_event,
    job_event,
    receiver,
)
from tests.forkserver.client import ForkedModule

STATUS = {"type": "ingest-status-notification-v1", "success": True}
NOWHERE = "http://127.0.0.1:9/api"
"""A port that nothing listens on."""


def environment(folder: Path, **extra: str) -> dict[str, str]:
    given = {"DARKROOM_WEBHOOK_SECRET": SECRET, "PREFECT_API_URL": NOWHERE, "PREFECT_HOME": str(folder / "prefect")}
    return clean_environment(**given | {"DARKROOM_HOME": str(folder / "home")} | extra)


def start_and_fail(folder: Path, *arguments: str, **extra: str) -> str:
    """What the command says that cannot become the receiver's process."""
    command = [sys.executable, "-m", "flows.cli", "webhooks", *arguments]
    variables = environment(folder, **extra)
    ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


@contextmanager
def started(folder: Path, *arguments: str, **extra: str) -> Iterator[tuple[subprocess.Popen[str], Receiver]]:
    """The module as a process, once it is ready."""
    words, pipe = ("--port", "0", *arguments), subprocess.PIPE
    variables = environment(folder, **extra)
    with ForkedModule("deployments.webhooks", *words, cwd=folder, env=variables, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            assert words[:4] == ["webhook", "receiver", "ready", "on"], process.communicate()[1]
            with httpx.Client() as http:
                yield process, Receiver(words[4], http)
        finally:
            process.kill()


def test_receiver_is_ready_says_so_keeps_secrets_and_ends_cleanly(tmp_path: Path) -> None:
    with started(tmp_path, ROBOFLOW_PUBLISHABLE_KEY="rf_mine") as (process, received):
        mine = {"Authorization": "Bearer rf_mine"}
        forged = f"{received.url}/notifications/{RUN}/{'0' * 32}"
        assert received.http.post(forged, json=job_event(), headers=mine).status_code == 403
        assert received.post(job_event(), headers=SENDER).status_code == 401
        assert received.post({}, headers=mine).status_code == 400
        assert received.post(job_event(), headers=mine).status_code == 200
        assert received.post(ingest_event(STATUS), headers=mine).status_code == 200
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    token = TOKENS.url("", RUN).rpartition("/")[2]
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept
    assert not any(path.stat().st_mode & 0o077 for path in kept)
    said = errors.encode() + b"".join(path.read_bytes() for path in kept)
    assert not [secret for secret in (SECRET, token, "rf_mine", "rf_workspace", "0" * 32) if secret.encode() in said]
    assert "Traceback" not in errors
    assert all(f"run {RUN}: " in line for line in errors.splitlines()), errors


def serve_for_ever(data: Path, listener: socket.socket) -> None:
    """A receiver that accepts and never gets to act."""
    runs = ScriptedRuns(script={RUN: [TryAgain("not yet")] * 10_000})
    serve(create_app(ReceiverSettings(data), runs), listener, "ready")


def test_receiver_killed_after_its_answer_leaves_the_event_to_the_next(tmp_path: Path) -> None:
    # Forked, since all that it needs is imported here.
    with bind("127.0.0.1", 0) as listener, httpx.Client(timeout=20) as http:
        first = get_context("fork").Process(target=serve_for_ever, args=(tmp_path, listener))
        first.start()
        try:
            answers = [Receiver(address("127.0.0.1", listener), http).post(job_event())]
        finally:
            first.kill()
            first.join()
    runs = ScriptedRuns()
    with receiver(tmp_path, runs) as second:
        second.settle()
        assert runs.asked == [RUN]
        answers.append(second.post(job_event()))
        assert second.pending() == 0
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(runs.told) == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DARKROOM_WEBHOOK_SECRET": ""}, "DARKROOM_WEBHOOK_SECRET is not set"),
        ({"ROBOFLOW_PUBLISHABLE_KEY": "hunter2"}, "a publishable key begins with rf_"),
    ],
)
def test_receiver_that_lacks_something_says_what_to_set(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    errors = start_and_fail(tmp_path, "--port", "0", **variables)
    assert said in errors.splitlines()[-1]
    assert "hunter2" not in errors
    assert not (tmp_path / "home").exists()
