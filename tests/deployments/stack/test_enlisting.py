from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.stack.__main__ import main
from deployments.stack.enlisting import enlist, run_command, start_flows_at_once, tell_prefect
from deployments.stack.parts import PREFECT, Plan
from deployments.stack.ports import Ports
from tasks.core.errors import ServiceFailed
from tasks.core.settings import Settings
from tests.scripted import Reply, scripted_server

WAITS = "import signal; signal.pause()"
FAILS = "print('the key is api_key=sesame'); raise SystemExit('no good secret')"


def test_server_that_refuses_is_told_as_what_it_is() -> None:
    with scripted_server() as server:
        server.replies([Reply(200), Reply(401)])
        with pytest.raises(ServiceFailed, match=r"Prefect's server at .*/api answers HTTP 401: see that it is up"):
            tell_prefect({"PREFECT_API_URL": f"{server.url}/api"}, "prefect.yaml")


def test_server_that_is_none_of_prefects_is_told() -> None:
    with scripted_server() as server:
        server.replies([Reply(200), Reply(200, body=b"<html>")])
        with pytest.raises(ServiceFailed, match=r"does not answer \(JSONDecodeError\)"):
            tell_prefect({"PREFECT_API_URL": server.url}, "prefect.yaml")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "nowhere", "http://host:port/api"])
def test_command_ends_with_one_line_where_prefect_cannot_be_reached(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"PREFECT_API_URL": url, "API_BASE_URL": "http://server", "ROBOFLOW_API_KEY": "sesame"}.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o022)
    try:
        assert main(["enlist"]) == 1
    finally:
        os.umask(before)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: Prefect's server at {url} does not answer")


def test_prefect_is_told_again_when_another_python_runs_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(tmp_path, Ports(), Settings())
    plan.key_file.parent.mkdir(parents=True)
    plan.key_file.write_text("key")
    (plan.folder / PREFECT).mkdir()
    told: list[str] = []
    monkeypatch.setattr("deployments.stack.enlisting.tell_prefect", lambda *_: told.append(sys.executable))
    outcomes = [enlist(plan, lambda _: None) for _ in range(2)]
    monkeypatch.setattr(sys, "executable", "/elsewhere/.venv/bin/python")
    outcomes.append(enlist(plan, lambda _: None))
    assert (outcomes, told[1:]) == ([True, False, True], ["/elsewhere/.venv/bin/python"])


def pool_of(kind: str, command: str | None) -> dict[str, Any]:
    """A pool as Prefect's server gives it."""
    variables = {"type": "object", "properties": {"command": {"type": "string", "default": command}}}
    return {"type": kind, "base_job_template": {"job_configuration": {}, "variables": variables}}


@pytest.mark.parametrize("before", [None, "/an/older/python -m prefect.engine", "'/my own/python' -m prefect.engine"])
def test_pool_is_given_the_command_of_this_python(before: str | None) -> None:
    with scripted_server() as server, httpx.Client(base_url=server.url) as api:
        server.answers(pool_of("process", before), {})
        start_flows_at_once(api)
    asked, told = server.seen
    assert (asked.method, told.method, told.path) == ("GET", "PATCH", asked.path)
    after = pool_of("process", f"{sys.executable} -m prefect.engine")["base_job_template"]
    assert told.json() == {"base_job_template": after}


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("process", f"{sys.executable} -m prefect.engine"),
        ("process", "nice python -m prefect.engine"),
        ("process", "my-engine"),
        ("docker", None),
    ],
)
def test_pool_with_a_command_of_ones_own_or_of_another_type_stays(kind: str, command: str | None) -> None:
    with scripted_server() as server, httpx.Client(base_url=server.url) as api:
        server.answers(pool_of(kind, command))
        start_flows_at_once(api)
    assert [seen.method for seen in server.seen] == ["GET"]


def test_command_that_does_not_end_is_killed_and_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=r"did not end within 0\.1 seconds: run the same command again"):
        run_command(os.environ, tmp_path / "log", sys.executable, "-S", "-c", WAITS, longest=0.1)


def test_command_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="failed with status 1; it said last:") as failed:
        run_command(os.environ, tmp_path / "log", sys.executable, "-S", "-c", FAILS)
    assert str(failed.value).endswith("  | no good secret")
    assert "=sesame" not in str(failed.value).partition("last:")[2]
