from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.stack.parts import RECEIVER, SERVER, Part, Plan, known_parts, parts
from deployments.stack.ports import Ports
from deployments.stack.stack import ended_on_failure, see_healthy
from tasks.core.errors import ServiceFailed
from tasks.core.services import free_port
from tasks.core.settings import Settings
from tests.tasks.core.test_services import serve
from tests.waiting import is_alive

BREAKS = [sys.executable, "-S", "-c", "print('the key is api_key=sesame'); raise SystemExit('no good secret')"]


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Part]:
    """A part that starts, on a port of its own choice."""
    part = Part(SERVER, tmp_path / SERVER, serve, dict(os.environ), port=free_port())
    yield part
    assert part.end()


def test_part_listens_where_it_was_told_to_and_stays_up_unused(healthy: Part) -> None:
    see_healthy(healthy, [healthy], lambda _: None)
    record = healthy.record()
    assert record is not None
    assert record.port == healthy._port
    assert healthy.is_kept()
    # Neither a closed terminal nor Ctrl-C in it reaches another session.
    assert os.getsid(record.pid) == os.getsid(record.supervisor) != os.getsid(0)
    assert healthy.end()
    assert not healthy.is_kept()
    assert not is_alive(record.pid)


def test_failed_start_ends_what_was_started_and_shows_the_log(healthy: Part, tmp_path: Path) -> None:
    broken = Part(RECEIVER, tmp_path / RECEIVER, lambda _: BREAKS, dict(os.environ))
    said: list[str] = []
    with pytest.raises(ServiceFailed) as failed, ended_on_failure([healthy, broken], said.append):
        see_healthy(healthy, [healthy, broken], said.append)
        see_healthy(broken, [healthy, broken], said.append)
    assert "receiver does not start: ended with status 1" in str(failed.value)
    assert "  | no good secret" in str(failed.value)
    assert "sesame" not in str(failed.value)
    assert said == ["starting batch server", "starting receiver", "ending batch server"]
    assert not healthy.is_kept()


def test_what_was_up_before_outlives_a_failed_start(healthy: Part, tmp_path: Path) -> None:
    see_healthy(healthy, [healthy], lambda _: None)
    broken = Part(RECEIVER, tmp_path / RECEIVER, lambda _: BREAKS, dict(os.environ))
    with pytest.raises(ServiceFailed), ended_on_failure([broken], lambda _: None):
        see_healthy(broken, [broken], lambda _: None)
    assert healthy.is_kept()


def test_looking_at_a_stack_that_never_was_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    assert [part.is_kept() for part in known_parts(folder)] == [False] * 4
    assert not folder.exists()


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "DARKROOM_", "ROBOFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ROBOFLOW_API_KEY", "the-users-own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-buckets")
    monkeypatch.setenv("PREFECT_API_KEY", "another-servers")
    monkeypatch.setenv("PREFECT_PROFILE", "cloud")
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    folder = tmp_path / "stack"
    folder.mkdir()
    return Plan(folder, Ports(), Settings())


def test_worker_gets_the_users_credentials_and_the_stacks_addresses(plan: Plan) -> None:
    environment = plan.flow_environment()
    assert environment["ROBOFLOW_API_KEY"] == "the-users-own"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "the-buckets"
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["DARKROOM_WEBHOOK_URL"] == "http://127.0.0.1:9002"
    assert not {"PREFECT_API_KEY", "PREFECT_PROFILE"} & set(environment)


def test_receiver_and_worker_share_a_secret_that_is_made_once_and_private(plan: Plan) -> None:
    secret = plan.flow_environment()["DARKROOM_WEBHOOK_SECRET"]
    assert len(secret) >= 16
    assert plan.flow_environment()["DARKROOM_WEBHOOK_SECRET"] == secret
    assert stat.S_IMODE((plan.folder / "webhook-secret").stat().st_mode) == 0o600


def test_addresses_of_the_users_own_stay(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEBHOOK_URL", "https://hooks.example.com")
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "60")
    environment = plan.flow_environment()
    assert environment["DARKROOM_WEBHOOK_URL"] == "https://hooks.example.com"
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "60"


def test_servers_get_no_credentials_and_commands_hold_no_secret(plan: Plan) -> None:
    prefect, server, receiver, worker = parts(plan)
    for part in (prefect, server):
        assert not {"ROBOFLOW_API_KEY", "AWS_SECRET_ACCESS_KEY", "DARKROOM_WEBHOOK_SECRET"} & set(part._env)
    secrets = ("the-users-own", "the-buckets", plan.flow_environment()["DARKROOM_WEBHOOK_SECRET"])
    commands = " ".join(word for part in (prefect, server, receiver, worker) for word in part._command(1))
    assert [secret for secret in secrets if secret in commands] == []
