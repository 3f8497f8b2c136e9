from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.commands import ROOT
from tests.deployments.stack.containers import check_command, unknown_variables

FOLDER = ROOT / "deployments"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "postgres"}
USED = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
DEFAULTS = dict(
    line.split("=", 1)
    for line in (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
SECRETS = {"POSTGRES_PASSWORD", "BATCH_SERVER_KEY", "DARKROOM_WEBHOOK_SECRET"}


def test_compose_itself_takes_the_file() -> None:
    compose = ["docker", "compose", "-f", str(FOLDER / "compose.yaml"), "--env-file"]
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("Docker's compose is not installed")
    filled = {name: value or "x" * 32 for name, value in DEFAULTS.items()}
    done = subprocess.run([*compose, "/dev/null", "config", "--quiet"], env=filled, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_is_a_service_for_each_part() -> None:
    assert set(SERVICES) == {"postgres", "prefect", "server", "receiver", "deploy", "worker"}


@pytest.mark.parametrize("name", OURS)
def test_command_is_one_that_its_parser_takes(name: str) -> None:
    check_command(OURS[name]["command"])


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str) -> None:
    assert unknown_variables(OURS[name].get("environment", {})) == set()


def test_what_is_to_be_filled_in_is_described_and_has_no_default() -> None:
    used = USED.findall(TEXT)
    assert {name for name, _, _ in used} == set(DEFAULTS)
    assert {name for name, kind, _ in used if kind == "?"} == SECRETS
    assert {name for name, kind, _ in used if not kind} == set()
    assert [name for name in SECRETS if DEFAULTS[name]] == []
    assert [name for name, kind, default in used if kind == "-" and default != DEFAULTS[name]] == [
        # Empty in the file as well: the receiver inside.
        "DARKROOM_WEBHOOK_URL"
    ]


def test_only_the_ui_can_be_reached_from_outside_and_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"prefect": ["127.0.0.1:${PREFECT_PORT:-4200}:4200"]}


@pytest.mark.parametrize("name", SERVICES)
def test_containers_cannot_write_outside_their_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & set(service)
    named = {volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith("$")}
    assert named <= set(COMPOSE["volumes"])


def test_every_volume_is_used() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert set(COMPOSE["volumes"]) <= used


def test_each_starts_when_what_it_needs_is_healthy() -> None:
    needed = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    order = ["postgres", "prefect", "server", "receiver", "deploy", "worker"]
    for name, conditions in needed.items():
        for other, condition in conditions.items():
            assert order.index(other) < order.index(name)
            ended = "service_completed_successfully" if other == "deploy" else "service_healthy"
            assert condition == {"condition": ended}
    assert set(needed["worker"]) == {"deploy", "receiver"}


@pytest.mark.parametrize(
    ("name", "port", "path"),
    [("prefect", 4200, "/api/health"), ("receiver", 9002, "/health"), ("worker", 8080, "/health")],
)
def test_health_is_asked_where_the_service_answers(name: str, port: int, path: str) -> None:
    start, *_, code = SERVICES[name]["healthcheck"]["test"]
    assert start == "CMD"
    assert f"is_healthy({port}, '{path}')" in code
    compile(code, name, "exec")


def test_restarts_are_for_servers() -> None:
    assert {service["restart"] for name, service in SERVICES.items() if name != "deploy"} == {"unless-stopped"}
    assert SERVICES["deploy"]["restart"] == "on-failure:3"
