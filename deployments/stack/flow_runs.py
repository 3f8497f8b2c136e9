"""Flow runs on the stack's worker: what becomes of those under way when it ends, or has been killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from deployments.stack.parts import POOL
from deployments.stack.patient import Patient

LONGEST = 60.0
STOP_SECONDS = 30.0
"""What a flow run's process is given to abort its job after SIGTERM."""
POLL_SECONDS = 0.3
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]
Say = Callable[[str], None]


def cancel_flow_runs(api_url: str, say: Say, *, has_worker: bool, longest: float = LONGEST) -> None:
    """Ends what is under way, so that jobs end as well; scheduled and suspended flow runs stay as they are.

    A worker is asked to cancel. What no worker cancels, as its own was killed, has its process ended, and is marked.

    Args:
        api_url: address of Prefect's API.
        say: told what is being done.
        has_worker: whether there is a worker to ask.
        longest: seconds that it is given.
    """
    with _asking(api_url, say) as api:
        _mark_dead(api, say)
        if has_worker:
            _have_cancelled(api, say, longest)
        _end_processes(api, say)
        _mark_dead(api, say)


def _have_cancelled(api: httpx.Client, say: Say, longest: float) -> None:
    for flow_run in _under_way(api):
        say(f"cancelling {flow_run['name']}")
        _set_state(api, flow_run, "CANCELLING", "Cancelling", "the stack is ended")
    _wait_while(lambda: bool(_under_way(api)), longest)


def _end_processes(api: httpx.Client, say: Say) -> None:
    left = [flow_run for flow_run in _under_way(api) if _is_alive(flow_run)]
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, POLL_SECONDS)):
        for flow_run in filter(_is_alive, left):
            say(f"ending {flow_run['name']} with {number.name}")
            with suppress(ProcessLookupError):
                os.kill(int(_local_process(flow_run)), number)
        _wait_while(lambda: any(map(_is_alive, left)), seconds)


def _wait_while(look: Callable[[], bool], longest: float) -> None:
    deadline = time.monotonic() + longest
    while look() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def mark_dead_flow_runs(api_url: str, say: Say) -> None:
    """Marks as crashed what a killed worker left behind: Prefect would show it as running for ever.

    Args:
        api_url: address of Prefect's API.
        say: told what is being done.
    """
    with _asking(api_url, say) as api:
        _mark_dead(api, say)


@contextmanager
def _asking(api_url: str, say: Say) -> Iterator[httpx.Client]:
    try:
        with httpx.Client(base_url=api_url, timeout=30, trust_env=False, transport=Patient()) as api:
            yield api
    except httpx.HTTPError as error:
        say(f"Prefect could not be asked which flow runs are under way ({type(error).__name__})")


def _mark_dead(api: httpx.Client, say: Say) -> None:
    for flow_run in _under_way(api):
        if _local_process(flow_run) and not _is_alive(flow_run):
            say(f"{flow_run['name']} is marked as crashed: its process is gone")
            _set_state(api, flow_run, "CRASHED", "Crashed", "its process is gone")


def _local_process(flow_run: dict[str, Any]) -> str:
    """The number of a flow run's process; empty where that is not known, or is on another machine."""
    host, _, process = str(flow_run["infrastructure_pid"] or "").rpartition(":")
    return process if process.isdecimal() and host in ("", socket.gethostname()) else ""


def _is_alive(flow_run: dict[str, Any]) -> bool:
    """Whether a flow run's process is on this machine and runs; another process may bear its number by now."""
    process = _local_process(flow_run)
    try:
        return bool(process) and flow_run["id"].encode() in (Path("/proc") / process / "environ").read_bytes()
    except OSError:
        return False


def _under_way(api: httpx.Client) -> list[dict[str, Any]]:
    chosen = {
        "work_pools": {"name": {"any_": [POOL]}},
        "flow_runs": {"state": {"type": {"any_": _UNDER_WAY}}},
    }
    found: list[dict[str, Any]] = api.post("flow_runs/filter", json=chosen).raise_for_status().json()
    return found


def _set_state(api: httpx.Client, flow_run: dict[str, Any], kind: str, name: str, message: str) -> None:
    state = {"type": kind, "name": name, "message": message}
    # By force: a dead run may be in any state.
    body = {"state": state, "force": kind == "CRASHED"}
    api.post(f"flow_runs/{flow_run['id']}/set_state", json=body).raise_for_status()
