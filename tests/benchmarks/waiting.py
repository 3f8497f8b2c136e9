"""Waiting for a job: what it costs while it lasts, and how soon its end is known.

The requests of an hour are those of the real step against a real server on which a job stands still, with a clock that
sleeping moves. The delay of polling is that of the same looks, for ends at every second of an hour. The delay of a
suspended flow run is measured on a real Prefect server with a process worker and the receiver of notifications: from
the job's end to the start of the resumed process, to that of its step *wait*, and to the end of the flow run.
"""

from __future__ import annotations

import signal
import statistics
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.batch_server.app import create_app
from tasks.core.errors import JobTimedOut
from tasks.roboflow_api.polling import Pace, poll_until
from tasks.steps.context import Run
from tasks.steps.ingest import ingest
from tasks.steps.launch import launch
from tasks.steps.wait import wait
from tests.benchmarks.costs import note, print_table
from tests.deployments.batch_server.running import process_server, served, settings_for
from tests.deployments.batch_server.small_engine import SmallEngine
from tests.deployments.deployed import Deployed, deployments
from tests.fake_time import FakeTime
from tests.images import make_images
from tests.tasks.steps.conftest import Bench
from tests.waiting import wait_for

HOUR = 3600
IMAGES = 20
HELD = "tests.deployments.batch_server.held_server"


class Counting:
    """An application that counts the requests for each kind of call."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "/jobs/" in scope["path"]:
            rest = scope["path"].partition("/jobs/")[2].split("/")[1:]
            self.calls[rest[-1] if rest else "job"] += 1
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class Resumed:
    """Seconds from a job's end to what follows in a suspended flow run."""

    process: float
    step: float
    end: float


def measure(work: Path, options: Namespace) -> None:
    """Prints the tables."""
    calls = _requests_of_an_hour(work / "hour")
    delays = list(_polling_delays())
    print_table(
        ("an hour's wait for a job", "requests", "of them for the job itself", "delay at its end, median", "longest"),
        (
            "polling, at the pace for the cloud",
            str(calls.total()),
            str(calls["job"]),
            f"{statistics.median(delays):.1f} s",
            f"{max(delays):.1f} s",
        ),
        ("suspended, with a receiver", "0", "0", "see below", "see below"),
    )
    resumed = _suspended(work / "suspended", options.rounds)
    columns = [[each.process for each in resumed], [each.step for each in resumed], [each.end for each in resumed]]
    shown = [f"{statistics.median(column):.1f} s ({min(column):.1f} to {max(column):.1f})" for column in columns]
    after = ("its process is started", "its step wait begins", "it has ended")
    print_table((f"suspended, {len(resumed)} runs: after the job's end", *after), ("seconds, median", *shown))


def _requests_of_an_hour(folder: Path) -> Counter[str]:
    folder.mkdir()
    engine = SmallEngine(hold_after=1)
    counting = Counting(create_app(settings_for(folder / "server"), engine))
    with served(counting) as server, ExitStack() as stack:
        bench = Bench(server.url, folder, stack)
        make_images(bench.source, IMAGES)
        run = bench.staged(wait={"deadline_hours": 1, "stall_minutes": 120})
        ingest(run, IMAGES)
        launch(run)
        wait_for(engine.holding.is_set, "the job to stand still")
        counting.calls.clear()
        try:
            wait(_at_the_clouds_pace(run))
        except JobTimedOut:
            return Counter(counting.calls)
    raise SystemExit("the job has ended, which it must not")


def _at_the_clouds_pace(run: Run) -> Run:
    platform = replace(run.platform, pace=Pace())
    return replace(run, target=replace(run.target, platform=platform), timing=FakeTime().timing())


def _polling_delays() -> Iterator[float]:
    for end in range(1, HOUR + 1):
        time = FakeTime()
        poll_until(
            lambda time=time: time.seconds,  # type: ignore[misc]
            lambda seen, end=end: seen >= end,  # type: ignore[misc]
            deadline=2.0 * HOUR,
            pace=Pace(),
            timing=time.timing(),
        )
        yield time.seconds - end


def _suspended(folder: Path, rounds: int) -> list[Resumed]:
    (folder / "home").mkdir(parents=True)
    found = []
    with deployments(folder / "home") as there, there.worker():
        for number in range(rounds):
            found.append(_resumed(there, folder / str(number)))
            note(f"waiting, suspended run {number + 1}: {found[-1].step:.1f} s")
    return found


def _resumed(there: Deployed, folder: Path) -> Resumed:
    (folder / "runs").mkdir(parents=True)
    options = ("--hold-after", "1", "--allow-host", "127.0.0.1")
    with (
        process_server(folder / "server", *options, module=HELD) as held,
        there.receiver(folder / "runs"),
    ):
        flow_run, job = there.begun(held, folder, IMAGES, mode="suspend")
        there.reached(flow_run, "Suspended")
        held.process.send_signal(signal.SIGUSR1)
        ended = _moment(held.client.finished(job)["lastUpdate"])
        if there.reached(flow_run, "Completed", "Failed", "Crashed") != "Completed":
            raise SystemExit("the suspended flow run has failed")
    states = there.api.get("flow_run_states/", params={"flow_run_id": flow_run}).raise_for_status().json()
    times = {
        state["name"]: _moment(state["timestamp"]) for state in sorted(states, key=lambda state: state["timestamp"])
    }
    return Resumed(times["Running"] - ended, _step_begun(there, flow_run) - ended, times["Completed"] - ended)


def _step_begun(there: Deployed, flow_run: str) -> float:
    """When the step *wait* began, the last time that it did."""
    of_run: dict[str, Any] = {"flow_runs": {"id": {"any_": [flow_run]}}}
    tasks = there.api.post("task_runs/filter", json=of_run).raise_for_status().json()
    return max(_moment(task["start_time"]) for task in tasks if task["name"].startswith("wait"))


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
