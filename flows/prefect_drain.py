"""Waiting until a Prefect server has received what this process sent it."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable

import httpx

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0
POLL_SECONDS = 0.05


def drain(
    api_url: str,
    *,
    timeout: float = DRAIN_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Waits until the server has received what this process sent it.

    Logs and artifacts go by request. Task runs go as events over a socket. So a marker is sent as the last event; once
    the server has stored it, it has them all.

    Args:
        api_url: the managed server's API.
        timeout: seconds to wait at most; passing it is logged, not raised.
        clock: gives seconds, monotonic.
        sleep: waits for seconds.

    Returns:
        Whether all is received.
    """
    deadline = clock() + timeout
    marker = _emit_marker()
    received = False
    with httpx.Client(base_url=f"{api_url}/", timeout=timeout, trust_env=False) as api:
        try:
            while not (received := _is_stored(api, marker)):
                if clock() > deadline:
                    break
                sleep(POLL_SECONDS)
        except httpx.HTTPError as error:
            logger.debug("Prefect server while draining: %r", error)
    _stop_workers(max(deadline - clock(), 1.0))
    if not received:
        logger.warning("Prefect has not received all of this run; the run folder has it")
    return received


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
    answer = api.post("events/filter", json={"filter": {"id": {"id": [marker]}}})
    return bool(answer.raise_for_status().json()["events"])
