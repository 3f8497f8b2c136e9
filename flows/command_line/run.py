"""``darkroom run``: the whole pipeline on one source, or what it would do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from flows.command_line.answers import Answer, say
from flows.command_line.by_name import named_secrets
from flows.command_line.run_words import asked_run
from flows.command_line.terminal import print_outcome, print_plan, starting, watched_run, watched_step
from flows.prefect_server import managed_prefect_api, prefect_warming_up
from tasks.core.errors import LocalFault
from tasks.core.options import Expectations, ExportChoice
from tasks.core.records import NothingNew, Piloted, Record, RunOutcome, RunSummary
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, list_runs, read_lock
from tasks.core.settings import Settings, load_settings
from tasks.sources.registry import FROM_VARIABLE, holds_secret, is_bucket_url
from tasks.steps.datasets import check_datasets
from tasks.steps.planning import Planned, open_planned, plan
from tasks.steps.runs import runs_folder
from tasks.steps.stage import answering_source, find_finished, left_out, open_target

SOURCE_VARIABLE = "DARKROOM_SOURCE"
OUTCOMES: dict[type[Record], str] = {
    RunSummary: "finished",
    NothingNew: "nothing-new",
    Piloted: "piloted",
    Planned: "planned",
}
"""How programs tell what a request has come to."""


def run(options: argparse.Namespace) -> Answer:
    """``darkroom run``."""
    settings = load_settings()
    request = asked_run(options, settings.runs)
    request = request.model_copy(update={"source": kept_secret(request.source)})
    with named_secrets(settings, request.credentials, request.platform) as settings:
        return _planned(request, settings) if options.dry_run else _told(_outcome(request, settings))


def kept_secret(source: str) -> str:
    """The source as it may be written down: a URL that may be signed goes into a variable of this process."""
    if not holds_secret(source):
        return source
    os.environ[SOURCE_VARIABLE] = source
    return FROM_VARIABLE + SOURCE_VARIABLE


def _outcome(request: RunRequest, settings: Settings) -> RunOutcome:
    # What cannot be is told before anything is started.
    check_datasets(request.datasets, answering_source(request.source, left_out(request, settings)))
    runs_folder(request.runs, settings)
    with ExitStack() as held:
        started = held.enter_context(starting())
        finished_before = _finished_before(request, settings)
        if not finished_before:
            held.enter_context(prefect_warming_up(settings.home))
        # Held open until the end, so that the embedded server stays up between the look and the flow.
        target = held.enter_context(open_target(request, settings))
        summary = find_finished(target).finished() if finished_before else None
        if summary is None:
            return _run_flow(request, settings, started)
        started()
    say(f"run {summary.key} finished before: nothing to do (--rerun LABEL does it afresh)")
    return summary


def _planned(request: RunRequest, settings: Settings) -> Answer:
    with starting() as started, open_planned(request, settings) as target:
        started()
        with watched_step() as progress:
            planned = plan(target, progress)
    if isinstance(planned, NothingNew):
        return _told(planned)
    return Answer(_document(planned), partial(print_plan, planned))


def _told(outcome: RunOutcome) -> Answer:
    return Answer(_document(outcome), partial(print_outcome, outcome))


def _document(record: Record) -> dict[str, Any]:
    return {"outcome": OUTCOMES[type(record)]} | record.model_dump(mode="json")


def _finished_before(request: RunRequest, settings: Settings) -> bool:
    """Whether a finished run was asked for in the same words and nothing follows it; its source may have changed."""
    if _is_followed(request):
        return False
    asked = request.model_dump(mode="json")
    folders = list_runs(runs_folder(request.runs, settings))
    return any(folder.summary.exists() and _asked(folder) == asked for folder in folders)


def _is_followed(request: RunRequest) -> bool:
    """Whether something is to be done, or to be looked at, when the run is finished."""
    judged = request.expectations != Expectations() or request.comparison.against
    written = request.destination or request.datasets.formats or request.export != ExportChoice()
    return bool(judged or written or request.only_new or is_bucket_url(request.runs))


def _asked(folder: RunFolder) -> Any:
    """The request in the run's lock; another run's damage is not this one's business."""
    try:
        return read_lock(folder).get("request")
    except LocalFault:
        return None


def _run_flow(request: RunRequest, settings: Settings, started: Callable[[], None]) -> RunOutcome:
    with managed_prefect_api(settings.home):
        # Prefect reads its settings when it is imported, so not before the server's address is known.
        from flows.batch import process_images

        started()
        with watched_run():
            outcome: RunOutcome = process_images(
                **{name: value for name, value in request if name not in ("replays", "pilot_of")}
            )
            return outcome
