"""The commands that look after runs and models: ``replay``, ``abort``, ``reap``, ``compile``."""

from __future__ import annotations

import argparse

from flows.command_line.answers import Answer, line
from flows.command_line.by_name import named_secrets
from flows.command_line.terminal import starting, watched_run
from flows.prefect_server import managed_prefect_api
from tasks.core.errors import BadInput, damaged
from tasks.core.identity import remote_id
from tasks.core.records import Record
from tasks.core.run_folder import find_run
from tasks.core.settings import load_settings
from tasks.roboflow_api.platform import open_platform
from tasks.steps.previous import open_run, request_of
from tasks.steps.reaping import stop_job
from tasks.steps.runs import open_runs, outlined_runs


class Aborted(Record):
    """What came of the wish to stop a run's job."""

    key: str
    job_id: str
    aborted: bool
    """It was under way, and is stopped."""
    command: str
    """What goes on with the run."""

    def line(self) -> str:
        """The line that the command line prints."""
        done = f"is aborted; go on with: {self.command}" if self.aborted else "is not under way: nothing to abort"
        return f"job {self.job_id} {done}"


def replay(options: argparse.Namespace) -> Answer:
    """``darkroom replay``: a run done again, and whether the results are the same."""
    settings = load_settings()
    named = options.runs or settings.runs
    with named_secrets(settings, options.credentials):
        with open_run(open_runs(named, settings), options.run, named) as original:
            if original.finished() is None:  # told before anything is started
                raise BadInput(f"run {original.key} is not finished: there is nothing to compare a replay with")
        with starting() as started, managed_prefect_api(settings.home):
            from flows.replay import replay_run

            started()
            with watched_run():
                replayed = replay_run(run=options.run, runs=named, credentials=options.credentials)
    return Answer(replayed, line(replayed.line()))


def abort(options: argparse.Namespace) -> Answer:
    """``darkroom abort``: stops the job of a run."""
    settings = load_settings()
    named = options.runs or settings.runs
    with (
        named_secrets(settings, options.credentials),
        outlined_runs(open_runs(named, settings), options.run) as place,
    ):
        folder = find_run(place, options.run, named)
        request = request_of(folder)
    if request is None:
        raise damaged(folder.lock_file)
    with named_secrets(settings, "", request.platform) as knowing, open_platform(request.platform, knowing) as platform:
        stopped = stop_job(platform, folder.key)
    done = Aborted(key=folder.key, job_id=remote_id(folder.key), aborted=stopped, command=request.command())
    return Answer(done, line(done.line()))


def reap(options: argparse.Namespace) -> Answer:
    """``darkroom reap``: looks after unfinished runs."""
    settings = load_settings()
    with managed_prefect_api(settings.home):
        from flows.reaping import reap_runs

        with watched_run():
            reaped = reap_runs(runs=options.runs or "", credentials=options.credentials)
    return Answer(reaped, line(reaped.line()), 1 if reaped.failed else 0)


def compilation(options: argparse.Namespace) -> Answer:
    """``darkroom compile``: a model, compiled by a platform."""
    settings = load_settings()
    # The platform first: what cannot be is told before anything is started.
    with (
        named_secrets(settings, "", options.platform) as knowing,
        starting() as started,
        open_platform(options.platform, knowing),
        managed_prefect_api(settings.home),
    ):
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
    return Answer(compiled, line(compiled.line()))
