"""Flow runs on the stack's worker: what becomes of those under way when it ends, or has been killed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deployments.stack.parts import POOL

LONGEST = 60.0
POLL_SECONDS = 0.3
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]
Say = Callable[[str], None]


def cancel_flow_runs(api_url: str, say: Say, longest: float = LONGEST) -> None:
    """Cancels what the worker runs, so that jobs end as well; scheduled and suspended flow runs stay as they are.

    Args:
        api_url: address of Prefect's API.
        say: told what is being done.
        longest: seconds to wait at most; what is left then ends with the worker.
    """
    with _asking(api_url, say) as api:
        _mark_dead(api, say)
        for flow_run in _under_way(api):
            say(f"cancelling {flow_run['name']}")
            _set_state(api, flow_run, "CANCELLING", "Cancelling", "the stack is ended")
        deadline = time.monotonic() + longest
        while _under_way(api) and time.monotonic() < deadline:
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
        with httpx.Client(base_url=api_url, timeout=30, trust_env=False) as api:
            yield api
    except httpx.HTTPError as error:
        say(f"Prefect could not be asked which flow runs are under way ({type(error).__name__})")


def _mark_dead(api: httpx.Client, say: Say) -> None:
    for flow_run in _under_way(api):
        if _is_dead(flow_run):
            say(f"{flow_run['name']} is marked as crashed: its process is gone")
            _set_state(api, flow_run, "CRASHED", "Crashed", "its process is gone")


def _is_dead(flow_run: dict[str, Any]) -> bool:
    """Whether a flow run's process was on this machine and is no more; another process may bear its number."""
    host, _, process = str(flow_run["infrastructure_pid"] or "").rpartition(":")
    if not process.isdecimal() or host not in ("", socket.gethostname()):
        return False
    try:
        return flow_run["id"].encode() not in (Path("/proc") / process / "environ").read_bytes()
    except OSError:
        return True


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
