"""Waiting until a Prefect server has recorded what this process sent it."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0
POLL_SECONDS = 0.05
TERMINAL_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
IDS_A_REQUEST = 200


def drain(
    api_url: str,
    since: datetime,
    *,
    timeout: float = DRAIN_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Waits until the server has recorded what this process sent it.

    Logs and artifacts go by request. Task runs go as events over a socket and are recorded later, from a
    queue that a stopping server drops. So a marker is sent as the last event; once the server has stored it,
    it has all events, and the task runs that ended are waited for.

    Args:
        api_url: the managed server's API.
        since: when this process began to use it.
        timeout: seconds to wait at most; passing it is logged, not raised.
        clock: gives seconds, monotonic.
        sleep: waits for seconds.

    Returns:
        Whether all is recorded.
    """
    deadline = clock() + timeout
    marker = _emit_marker()
    recorded = False
    with httpx.Client(base_url=f"{api_url}/", timeout=timeout, trust_env=False) as api:
        try:
            while not (recorded := _is_stored(api, marker) and _are_recorded(api, since)):
                if clock() > deadline:
                    break
                sleep(POLL_SECONDS)
        except httpx.HTTPError as error:
            logger.debug("Prefect server while draining: %r", error)
    _stop_workers(max(deadline - clock(), 1.0))
    if not recorded:
        logger.warning("Prefect has not recorded all task runs of this run; the run folder has them")
    return recorded


def _emit_marker() -> str:
    """Sends the last event; gives its id."""
    from prefect.events import emit_event

    marker = uuid.uuid4()
    emit_event("darkroom.left", resource={"prefect.resource.id": f"darkroom.process.{os.getpid()}"}, id=marker)
    return str(marker)


def _stop_workers(timeout: float) -> None:
    """Ends Prefect's background workers of this process; only logs can be left to send by now."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=timeout)
    APILogWorker.drain_all(timeout=timeout)


def _is_stored(api: httpx.Client, marker: str) -> bool:
    return bool(_post(api, "events/filter", {"filter": {"id": {"id": [marker]}}})["events"])


def _are_recorded(api: httpx.Client, since: datetime) -> bool:
    """Whether all task runs whose end was reported since then have ended in the database too."""
    ended = sorted(_ended_task_runs(api, since))
    for start in range(0, len(ended), IDS_A_REQUEST):
        ids = ended[start : start + IDS_A_REQUEST]
        task_runs = {"id": {"any_": ids}, "state": {"type": {"any_": TERMINAL_STATES}}}
        if _post(api, "task_runs/count", {"task_runs": task_runs}) < len(ids):
            return False
    return True


def _ended_task_runs(api: httpx.Client, since: datetime) -> set[str]:
    ending = [f"prefect.task-run.{state.capitalize()}" for state in TERMINAL_STATES]
    # Prefect's clock for events may lie a little before ours.
    occurred = {"since": (since - timedelta(seconds=5)).isoformat()}
    page = _post(api, "events/filter", {"filter": {"event": {"name": ending}, "occurred": occurred}, "limit": 50})
    found: set[str] = set()
    while True:
        found |= {event["resource"]["prefect.resource.id"].rpartition(".")[2] for event in page["events"]}
        if not page["next_page"]:
            return found
        page = api.get(page["next_page"]).raise_for_status().json()


def _post(api: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:
    return api.post(path, json=body).raise_for_status().json()
