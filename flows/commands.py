"""The commands of ``darkroom`` and their arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, get_args

from flows.prefect_server import managed_prefect_api, prefect_warming_up
from flows.terminal import print_outcome, print_runs, print_survey, starting, watched_run, wide_console
from tasks.core.errors import BadInput, DarkroomError, LocalFault, local_fault
from tasks.core.records import NothingNew, RunSummary
from tasks.core.redaction import redact
from tasks.core.request import AskedTransfer, RunRequest, check_label, parse_parameter
from tasks.core.run_folder import RunFolder, find_run, list_runs, read_lock
from tasks.core.settings import Settings, load_settings
from tasks.roboflow_api.platform import EMBEDDED
from tasks.sources.registry import FROM_VARIABLE, holds_secret, is_bucket_url
from tasks.steps.runs import runs_folder, visible_runs
from tasks.steps.stage import answering_source, find_finished, left_out, open_target

SOURCE_VARIABLE = "DARKROOM_SOURCE"


def carry_out(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit status."""
    try:
        _check_encoding(arguments)
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
        return status
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
    request = RunRequest(
        source=kept_secret(options.source),
        workflow=options.workflow,
        platform=options.platform,
        parameters=dict(options.param),
        transfer=options.transfer,
        only_new=options.only_new,
        destination=options.destination,
        runs=options.runs or settings.runs,
        rerun=options.rerun,
    )
    answering_source(request.source, left_out(request, settings))  # what cannot be is told before anything is started
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


def _report(outcome: RunSummary | NothingNew) -> int:
    print_outcome(outcome, wide_console())
    return 0


def _finished_before(request: RunRequest, settings: Settings) -> bool:
    """Whether a finished run was asked for in the same words and nothing follows it; its source may have changed."""
    if request.only_new or request.destination or is_bucket_url(request.runs):
        return False
    asked = request.model_dump(mode="json")
    folders = list_runs(runs_folder(request.runs, settings))
    return any(folder.summary.exists() and _asked(folder) == asked for folder in folders)


def _asked(folder: RunFolder) -> Any:
    """The request in the run's lock; another run's damage is not this one's business."""
    try:
        return read_lock(folder).get("request")
    except LocalFault:
        return None


def _run_flow(request: RunRequest, settings: Settings, started: Callable[[], None]) -> RunSummary | NothingNew:
    with managed_prefect_api(settings.home):
        # Prefect reads its settings when it is imported, so not before the server's address is known.
        from flows.batch import process_images

        started()
        with watched_run():
            return process_images(
                source=request.source,
                workflow=request.workflow,
                platform=request.platform,
                parameters=request.parameters,
                options=request.options,
                transfer=request.transfer,
                only_new=request.only_new,
                destination=request.destination,
                runs=request.runs,
                rerun=request.rerun,
            )


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
    command = [sys.executable, "-m", "deployments.batch_server", *options.arguments]
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="Process folders and buckets of images with a computer-vision workflow, and account for each.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_stage(commands)
    _add_server(commands)
    listing = commands.add_parser("runs", help="list the runs", description="List the runs, the latest first.")
    listing.set_defaults(command=runs)
    showing = commands.add_parser("show", help="show one run", description="Show one run, as `darkroom run` ended.")
    showing.add_argument("run", metavar="RUN", help="key of the run, or its first digits")
    showing.set_defaults(command=show)
    for command in (listing, showing):
        _add_runs_option(command)
    return parser


def _add_run(commands: Any) -> None:
    command = commands.add_parser(
        "run",
        help="stage, ingest, launch, wait, export, summarize",
        description="Run the pipeline on a source. The same command again finds the same run and goes on with it.",
        epilog="example: darkroom run ./photos --workflow photo-audit",
    )
    _add_source(command)
    command.add_argument(
        "--workflow", required=True, metavar="ID", help="id of a workflow, or a definition file such as ./mine.json"
    )
    command.add_argument(
        "--platform",
        default=EMBEDDED,
        metavar="embedded|roboflow|URL",
        help="where the work is done (default: embedded, a server on this machine, started on the spot)",
    )
    command.add_argument(
        "--param",
        action="append",
        default=[],
        type=_parameter,
        metavar="NAME=VALUE",
        help="a parameter of the workflow; may be given several times",
    )
    command.add_argument(
        "--transfer",
        default="auto",
        choices=get_args(AskedTransfer),
        help="whether the platform fetches the files from signed URLs, or they are uploaded from here "
        "(default: auto, by reference wherever the platform can reach them)",
    )
    command.add_argument(
        "--only-new", action="store_true", help="only what is new or changed since the last such run of this source"
    )
    command.add_argument(
        "--destination", default="", metavar="PLACE", help="folder or bucket that the results are published to as well"
    )
    _add_runs_option(command)
    command.add_argument(
        "--rerun", default="", type=_label, metavar="LABEL", help="do the same work afresh under this label"
    )
    command.set_defaults(command=run)


def _add_stage(commands: Any) -> None:
    command = commands.add_parser(
        "stage",
        help="list and check a source; nothing is sent",
        description="List a source, check its files and write the manifest. Nothing is sent anywhere.",
        epilog="example: darkroom stage 's3://bucket/2024/**/*.jpg' --references references.jsonl",
    )
    _add_source(command)
    command.add_argument(
        "--references",
        default="",
        metavar="FILE",
        help="write signed references here, a JSON line each; whoever has the file can read the media until they end",
    )
    _add_runs_option(command)
    command.set_defaults(command=stage)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="folder, s3://, gs://, az:// or sftp:// place, pattern such as 's3://bucket/2024/**/*.jpg', "
        "or references.jsonl",
    )


def _add_runs_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runs", metavar="PLACE", help="folder of the runs, here or in a bucket (default: DARKROOM_RUNS or ./runs)"
    )


def _add_server(commands: Any) -> None:
    command = commands.add_parser(
        "server", help="serve the batch API on this machine", add_help=False, prefix_chars="\0"
    )
    command.add_argument("arguments", nargs=argparse.REMAINDER)
    command.set_defaults(command=server)


def _parameter(text: str) -> tuple[str, Any]:
    try:
        return parse_parameter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _label(text: str) -> str:
    try:
        return check_label(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
