"""The commands of ``darkroom``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, NoReturn

from flows.arguments import Command, asked_run, comparison_options, parse
from flows.prefect_server import managed_prefect_api, prefect_warming_up
from flows.terminal import (
    print_comparison,
    print_outcome,
    print_runs,
    print_survey,
    starting,
    watched_run,
    wide_console,
)
from tasks.core.errors import BadInput, DarkroomError, LocalFault, damaged, local_fault
from tasks.core.identity import remote_id
from tasks.core.options import Expectations, ExportChoice
from tasks.core.records import RunOutcome, RunSummary
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, find_run, list_runs, read_lock
from tasks.core.settings import Settings, load_settings
from tasks.results.compare import compare as compare_facts
from tasks.results.facts import facts_of
from tasks.roboflow_api.platform import open_platform
from tasks.sources.registry import FROM_VARIABLE, holds_secret, is_bucket_url
from tasks.steps.datasets import check_datasets
from tasks.steps.previous import open_run, request_of
from tasks.steps.reaping import stop_job
from tasks.steps.runs import open_runs, outlined_runs, runs_folder, visible_runs
from tasks.steps.stage import answering_source, find_finished, left_out, open_target

SOURCE_VARIABLE = "DARKROOM_SOURCE"
DRIFTED = 3
"""Exit status of a comparison that found a change beyond its limit."""


def carry_out(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit status."""
    try:
        _check_encoding(arguments)
        options = parse(list(arguments), COMMANDS)
        command: Command = options.command
        return command(options)
    except DarkroomError as error:
        return _fail(error)
    except OSError as error:
        return _fail(local_fault(error))


def _check_encoding(arguments: Sequence[str]) -> None:
    """Refuses bytes that are no text: a run's request travels as JSON, which cannot hold them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{argument!r} is not valid UTF-8: rename what it names") from None


def _fail(error: DarkroomError) -> int:
    print(f"darkroom: {redact(str(error))}", file=sys.stderr)
    return error.exit_status


def run(options: argparse.Namespace) -> int:
    """``darkroom run``: the whole pipeline on one source."""
    settings = load_settings()
    request = asked_run(options, settings.runs)
    request = request.model_copy(update={"source": kept_secret(request.source)})
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
            return _report(_run_flow(request, settings, started))
        started()
    print(f"run {summary.key} finished before: nothing to do (--rerun LABEL does it afresh)", file=sys.stderr)
    return _report(summary)


def kept_secret(source: str) -> str:
    """The source as it may be written down: a URL that may be signed goes into a variable of this process."""
    if not holds_secret(source):
        return source
    os.environ[SOURCE_VARIABLE] = source
    return FROM_VARIABLE + SOURCE_VARIABLE


def _report(outcome: RunOutcome) -> int:
    print_outcome(outcome, wide_console())
    return 0


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


def stage(options: argparse.Namespace) -> int:
    """``darkroom stage``: what a source holds."""
    settings = load_settings()
    runs, source = options.runs or settings.runs, kept_secret(options.source)
    answering_source(source, (runs, str(settings.home)))
    runs_folder(runs, settings)  # what cannot be a place for runs is told now
    with starting() as started, managed_prefect_api(settings.home):
        from flows.staging import stage_source

        started()
        with watched_run():
            surveyed = stage_source(source=source, references=options.references, runs=runs)
    print_survey(surveyed, options.references, wide_console())
    return 0


def server(options: argparse.Namespace) -> int:
    """``darkroom server``: becomes the batch server's process."""
    _become("deployments.batch_server", options.arguments)


def webhooks(options: argparse.Namespace) -> int:
    """``darkroom webhooks``: becomes the process of the receiver of notifications."""
    _become("deployments.webhooks", options.arguments)


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    command = [sys.executable, "-m", module, *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own module, arguments as a list


def runs(options: argparse.Namespace) -> int:
    """``darkroom runs``: every run below the runs folder."""
    settings = load_settings()
    with visible_runs(options.runs or settings.runs, settings) as place:
        print_runs([(folder.key, *_state(folder)) for folder in list_runs(place)], wide_console())
    return 0


def _state(folder: RunFolder) -> tuple[str, RunSummary | None]:
    try:
        summary = folder.finished()
    except LocalFault:
        return "damaged", None
    return ("done" if summary else "unfinished"), summary


def show(options: argparse.Namespace) -> int:
    """``darkroom show``: one run."""
    settings = load_settings()
    runs = options.runs or settings.runs
    with visible_runs(runs, settings) as place:
        folder = find_run(place, options.run, runs)
        summary = folder.finished()
        if summary is None:
            print(f"run {folder.key}: not finished; go on with: {read_lock(folder)['command']}")
            return 0
    if is_bucket_url(runs):
        summary = summary.model_copy(update={"place": f"{runs.rstrip('/')}/{summary.key}"})
    return _report(summary)


def compare(options: argparse.Namespace) -> int:
    """``darkroom compare``: one finished run against another."""
    settings = load_settings()
    named = options.runs or settings.runs
    opened = open_runs(named, settings)
    with open_run(opened, options.before, named) as before, open_run(opened, options.now, named) as now:
        comparison = compare_facts(facts_of(now), facts_of(before), comparison_options(options, before.key))
    if options.json:
        print(json.dumps(asdict(comparison) | {"drifted": comparison.drifted}, ensure_ascii=False))
    else:
        print_comparison(comparison, wide_console())
    return DRIFTED if comparison.drifted else 0


def replay(options: argparse.Namespace) -> int:
    """``darkroom replay``: a run done again, and whether the results are the same."""
    settings = load_settings()
    named = options.runs or settings.runs
    with open_run(open_runs(named, settings), options.run, named) as original:
        if original.finished() is None:  # told before anything is started
            raise BadInput(f"run {original.key} is not finished: there is nothing to compare a replay with")
    with starting() as started, managed_prefect_api(settings.home):
        from flows.replay import replay_run

        started()
        with watched_run():
            replayed = replay_run(run=options.run, runs=named)
    print(replayed.line())
    return 0


def abort(options: argparse.Namespace) -> int:
    """``darkroom abort``: stops the job of a run."""
    settings = load_settings()
    named = options.runs or settings.runs
    with outlined_runs(open_runs(named, settings), options.run) as place:
        folder = find_run(place, options.run, named)
        request = request_of(folder)
    if request is None:
        raise damaged(folder.lock_file)
    with open_platform(request.platform, settings) as platform:
        stopped = stop_job(platform, folder.key)
    done = "is aborted; go on with: " + request.command() if stopped else "is not under way: nothing to abort"
    print(f"job {remote_id(folder.key)} {done}")
    return 0


def reap(options: argparse.Namespace) -> int:
    """``darkroom reap``: looks after unfinished runs."""
    settings = load_settings()
    with managed_prefect_api(settings.home):
        from flows.reaping import reap_runs

        with watched_run():
            reaped = reap_runs(runs=options.runs or "")
    print(reaped.line())
    return 1 if reaped.failed else 0


def compilation(options: argparse.Namespace) -> int:
    """``darkroom compile``: a model, compiled by a platform."""
    settings = load_settings()
    # The platform first: what cannot be is told before anything is started.
    with starting() as started, open_platform(options.platform, settings), managed_prefect_api(settings.home):
        from flows.compilation import compile_model

        started()
        with watched_run():
            compiled = compile_model(
                model=options.model,
                devices=tuple(options.device),
                platform=options.platform,
                rerun=options.rerun,
                deadline_hours=options.deadline_hours,
            )
    print(compiled.line())
    return 0


COMMANDS: Mapping[str, Command] = {
    "run": run,
    "stage": stage,
    "compare": compare,
    "replay": replay,
    "compile": compilation,
    "abort": abort,
    "reap": reap,
    "runs": runs,
    "show": show,
    "server": server,
    "webhooks": webhooks,
}
