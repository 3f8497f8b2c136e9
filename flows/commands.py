"""The commands of ``darkroom`` and their arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flows.prefect_server import managed_prefect_api, prefect_warming_up
from flows.terminal import print_runs, print_summary, starting, watched_run, wide_console
from tasks.core.errors import BadInput, DarkroomError, LocalFault, local_fault
from tasks.core.records import RunSummary
from tasks.core.redaction import redact
from tasks.core.request import RunRequest, check_label, parse_parameter
from tasks.core.run_folder import RunFolder, find_run, list_runs
from tasks.core.settings import Settings, load_settings
from tasks.roboflow_api.platform import EMBEDDED
from tasks.sources.registry import open_source
from tasks.steps.stage import find_finished, open_target, read_lock


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
        source=options.source,
        workflow=options.workflow,
        platform=options.platform,
        parameters=dict(options.param),
        runs=options.runs or settings.runs,
        rerun=options.rerun,
    )
    open_source(request.source, left_out=(request.runs, settings.home))  # bad input is told before anything is started
    with ExitStack() as held:
        started = held.enter_context(starting())
        if not _finished_before(request):
            held.enter_context(prefect_warming_up(settings.home))
        # Held open until the end, so that the embedded server stays up between the look and the flow.
        summary = find_finished(held.enter_context(open_target(request, settings))).finished()
        if summary is None:
            summary = _run_flow(request, settings, started)
        else:
            started()
            print(f"run {summary.key} finished before: nothing to do (--rerun LABEL does it afresh)", file=sys.stderr)
    print_summary(summary, wide_console())
    return 0


def _finished_before(request: RunRequest) -> bool:
    """Whether a finished run was asked for in the same words; its source may have changed since."""
    asked = request.model_dump(mode="json")
    return any(folder.summary.exists() and _asked(folder) == asked for folder in list_runs(request.runs))


def _asked(folder: RunFolder) -> Any:
    """The request in the run's lock; another run's damage is not this one's business."""
    try:
        return read_lock(folder).get("request")
    except LocalFault:
        return None


def _run_flow(request: RunRequest, settings: Settings, started: Callable[[], None]) -> RunSummary:
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
                runs=str(request.runs),
                rerun=request.rerun,
            )


def server(options: argparse.Namespace) -> int:
    """``darkroom server``: becomes the batch server's process."""
    command = [sys.executable, "-m", "deployments.batch_server", *options.arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own module, arguments as a list


def runs(options: argparse.Namespace) -> int:
    """``darkroom runs``: every run below the runs folder."""
    folders = list_runs(options.runs or load_settings().runs)
    print_runs([(folder.key, *_state(folder)) for folder in folders], wide_console())
    return 0


def _state(folder: RunFolder) -> tuple[str, RunSummary | None]:
    try:
        summary = folder.finished()
    except LocalFault:
        return "damaged", None
    return ("done" if summary else "unfinished"), summary


def show(options: argparse.Namespace) -> int:
    """``darkroom show``: one run."""
    folder = find_run(options.runs or load_settings().runs, options.run)
    summary = folder.finished()
    if summary is not None:
        print_summary(summary, wide_console())
        return 0
    print(f"run {folder.key}: not finished; go on with: {read_lock(folder)['command']}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom", description="Process folders of images with a computer-vision workflow, and account for each."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
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
    command.add_argument("source", metavar="SOURCE", help="folder of images")
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
    _add_runs_option(command)
    command.add_argument(
        "--rerun", default="", type=_label, metavar="LABEL", help="do the same work afresh under this label"
    )
    command.set_defaults(command=run)


def _add_runs_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of the runs (default: DARKROOM_RUNS or ./runs)"
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
