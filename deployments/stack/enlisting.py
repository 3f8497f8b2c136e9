"""What Prefect's server is told about this project: the work pool, the deployments, blocks and automations.

It is told again when the project or the ports have changed; a schedule that was switched on stays on.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from deployments.stack.flow_runs import Say
from deployments.stack.logs import last_lines
from deployments.stack.parts import POOL, PREFECT, ROOT, Plan
from deployments.stack.patient import Patient
from tasks.core.errors import ServiceFailed
from tasks.core.files import write_text
from tasks.core.redaction import redact

BLOCK = "local"
"""Name of the block that holds the address and the key of the stack's batch server."""
LONGEST = 300.0
"""Seconds that a command is given."""
PREFECT_FILE = "prefect.yaml"
_TOLD = (PREFECT_FILE, "flows/**/*.py", "tasks/**/*.py", "deployments/setup/**/*.py")
_CLIENT = (sys.executable, "-m", "prefect", "--no-prompt")
_ENGINE = ("-m", "prefect.engine")


def enlist(plan: Plan, say: Say) -> bool:
    """Makes pool, deployments, blocks and automations what the project says.

    Args:
        plan: what the stack runs with.
        say: told when there is something to tell Prefect.

    Returns:
        Whether there was something to tell.

    Raises:
        ServiceFailed: Prefect's server does not answer, or a command failed or did not end; the message ends with its
            last lines.
    """
    marker, digest = plan.folder / PREFECT / "enlisted", _digest(plan)
    if marker.exists() and marker.read_text(encoding="utf-8") == digest:
        return False
    say("telling Prefect about the project")
    server = {"API_BASE_URL": plan.ports.server_url, "ROBOFLOW_API_KEY": plan.key_file.read_text("utf-8").strip()}
    tell_prefect(plan.flow_environment() | server, PREFECT_FILE, plan.folder / "enlist.log")
    write_text(marker, digest)
    return True


def tell_prefect(environment: Mapping[str, str], prefect_file: str, log: Path | None = None) -> None:
    """Makes the work pool where there is none, then the deployments, the blocks and the automations.

    Args:
        environment: says where Prefect's API is, and the batch server and its key for the block.
        prefect_file: the deployments' file, as seen from the project's folder.
        log: where the commands' words go; ``None``: to standard output.

    Raises:
        ServiceFailed: Prefect's server does not answer, or a command failed or did not end.
    """
    run = partial(run_command, environment, log)
    with _asking(environment["PREFECT_API_URL"]) as api:
        if api.get(f"work_pools/{POOL}").status_code == httpx.codes.NOT_FOUND:
            run(*_CLIENT, "work-pool", "create", POOL, "--type", "process")
        start_flows_at_once(api)
        with schedules_kept(api):
            run(*_CLIENT, "deploy", "--all", "--prefect-file", prefect_file)
    run(sys.executable, "-m", "deployments.setup", "--pool", POOL, "--block", BLOCK)


def start_flows_at_once(api: httpx.Client) -> None:
    """Has the pool's workers begin a flow run at once, with the Python that runs this.

    By itself Prefect prepares a workspace first, in a program that imports Prefect before the flow does so again. The
    project is where the worker is, so nothing is to be prepared. A pool of another type, and a command of the user's
    own, stay as they are.

    Args:
        api: Prefect's.
    """
    pool = api.get(f"work_pools/{POOL}").raise_for_status().json()
    if pool["type"] != "process":
        return
    template = pool["base_job_template"]
    command = template["variables"]["properties"]["command"]
    wanted = shlex.join([sys.executable, *_ENGINE])
    if command.get("default") == wanted or not _is_ours(command.get("default")):
        return
    command["default"] = wanted
    api.patch(f"work_pools/{POOL}", json={"base_job_template": template}).raise_for_status()


def _is_ours(command: str | None) -> bool:
    """Whether nobody has chosen this command; another Python than now may have run this before."""
    return not command or tuple(shlex.split(command)[1:]) == _ENGINE


@contextmanager
def _asking(api_url: str) -> Iterator[httpx.Client]:
    try:
        with httpx.Client(base_url=api_url, timeout=60, trust_env=False, transport=Patient()) as api:
            yield api
    except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError) as error:
        said = f"does not answer ({type(error).__name__})"
        if isinstance(error, httpx.HTTPStatusError):
            said = f"answers HTTP {error.response.status_code}"
        raise ServiceFailed(
            f"Prefect's server at {redact(api_url)} {said}: see that it is up, that PREFECT_API_URL is its address "
            "(which ends in /api) and what its log says, then run the same command again"
        ) from None


def _digest(plan: Plan) -> str:
    """Of all that the answer of Prefect's server depends on."""
    here = (plan.ports, plan.key_file.stat().st_mtime_ns, ROOT, sys.executable)
    found = hashlib.sha256(repr(here).encode())
    for pattern in _TOLD:
        for path in sorted(ROOT.glob(pattern)):
            found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()


@contextmanager
def schedules_kept(api: httpx.Client) -> Iterator[None]:
    """Switches on again what was on before ``prefect deploy`` set schedules to what the file says, or failed midway."""
    before = {_schedule_key(deployment, schedule) for deployment, schedule in _schedules(api) if schedule["active"]}
    try:
        yield
    finally:
        for deployment, schedule in _schedules(api):
            if not schedule["active"] and _schedule_key(deployment, schedule) in before:
                path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
                api.patch(path, json={"active": True}).raise_for_status()


def _schedules(api: httpx.Client) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for deployment in api.post("deployments/filter", json={}).raise_for_status().json():
        for schedule in deployment["schedules"]:
            yield deployment, schedule


def _schedule_key(deployment: dict[str, Any], schedule: dict[str, Any]) -> tuple[str, str, str]:
    return deployment["flow_id"], deployment["name"], repr(sorted(schedule["schedule"].items()))


def run_command(environment: Mapping[str, str], log: Path | None, *command: str, longest: float = LONGEST) -> None:
    """Runs a command to its end.

    Args:
        environment: the command's.
        log: where its words go; ``None``: to standard output.
        command: its first word is not shown in messages.
        longest: seconds that it is given; then it is killed.

    Raises:
        ServiceFailed: it failed, or did not end in time.
    """
    shown = " ".join(word for word in command[1:] if word != "-m")
    try:
        with ExitStack() as opened:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=opened.enter_context(log.open("wb")) if log else None,
                stderr=subprocess.STDOUT,
                timeout=longest,
                check=False,
            )
    except subprocess.TimeoutExpired:
        problem = f"`{shown}` did not end within {longest:g} seconds: run the same command again when less is going on"
        raise ServiceFailed(_with_last_lines(problem, log)) from None
    if done.returncode:
        raise ServiceFailed(_with_last_lines(f"`{shown}` failed with status {done.returncode}", log))


def _with_last_lines(problem: str, log: Path | None) -> str:
    return f"{problem}; it said last:\n{last_lines(log)}" if log else problem
