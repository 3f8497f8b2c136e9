"""The arguments of ``darkroom``: one parser, a function a command, and what each word means."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, get_args

from flows.words import (
    PLACE,
    add_key,
    add_repeated,
    add_runs_option,
    add_source,
    assigned_to,
    option_of,
    read_budget,
    read_label,
    read_model,
    read_parameter,
)
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import AskedImages, ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions
from tasks.core.request import AskedTransfer, RunRequest
from tasks.roboflow_api.models import CompilationDevice
from tasks.roboflow_api.platform import CLOUD, EMBEDDED
from tasks.steps.compiling import DEADLINE_HOURS, CompilationOptions

Command = Callable[[argparse.Namespace], int]


def parse(arguments: list[str], commands: Mapping[str, Command]) -> argparse.Namespace:
    """The parsed arguments; ``command`` is the one to carry out.

    Args:
        arguments: without the program's name.
        commands: what carries each command out, by its name.
    """
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="Process folders and buckets of images with a computer-vision workflow, and account for each.",
    )
    places = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, add in _ADDERS.items():
        add(places).set_defaults(command=commands[name])
    return parser.parse_args(arguments)


def asked_run(options: argparse.Namespace, runs: str) -> RunRequest:
    """What the words of ``darkroom run`` ask for.

    Args:
        options: the parsed words.
        runs: where runs lie, where the words do not say.
    """
    return RunRequest(
        source=options.source,
        workflow=options.workflow,
        platform=options.platform,
        parameters=dict(options.param),
        transfer=options.transfer,
        only_new=options.only_new,
        export=ExportChoice(stage=options.stage, parts=options.part),
        datasets=_dataset_options(options),
        expectations=Expectations.model_validate(dict(options.expect)),
        comparison=comparison_options(options, options.compare),
        options=ResultOptions.model_validate(dict(options.option)),
        job=JobOptions.model_validate(dict(options.job)),
        wait=WaitOptions.model_validate(dict(options.wait)),
        pilot=PilotOptions.model_validate(dict(options.budget) | {"files": options.pilot}),
        destination=options.destination,
        runs=options.runs or runs,
        rerun=options.rerun,
    )


def _dataset_options(options: argparse.Namespace) -> DatasetOptions:
    return DatasetOptions(
        formats=options.format,
        outputs=options.dataset_output,
        images=options.images,
        validation=options.validation,
        zipped=options.zip,
    )


def comparison_options(options: argparse.Namespace, against: str) -> ComparisonOptions:
    """A comparison with the run ``against``, under the limits that all ``--limit`` say."""
    return ComparisonOptions.model_validate(dict(options.limit) | {"against": against})


def _add_run(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="stage, ingest, launch, wait, export, summarize",
        description="Run the pipeline on a source. The same command again finds the same run and goes on with it.",
        epilog="example: darkroom run ./photos --workflow photo-audit --format coco --expect max_failures=0",
    )
    add_source(command)
    command.add_argument(
        "--workflow", required=True, metavar="ID", help="id of a workflow, or a definition file such as ./mine.json"
    )
    command.add_argument(
        "--platform",
        default=EMBEDDED,
        metavar="embedded|roboflow|URL",
        help="where the work is done (default: embedded, a server on this machine, started on the spot)",
    )
    add_repeated(command, "--param", read_parameter, "NAME=VALUE", "a parameter of the workflow")
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
        "--destination", default="", metavar=PLACE, help="folder or bucket that the results are published to as well"
    )
    add_runs_option(command)
    command.add_argument(
        "--rerun", default="", type=read_label, metavar="LABEL", help="do the same work afresh under this label"
    )
    _add_job(command.add_argument_group("the job"))
    _add_pilot(command.add_argument_group("a pilot, which estimates the whole"))
    _add_export(command.add_argument_group("what is exported"))
    _add_datasets(command.add_argument_group("datasets, written to datasets/ in the run's folder"))
    _add_judging(command.add_argument_group("judging the results"))
    return command


def _add_job(group: Any) -> None:
    for flag, model, text in (
        ("--option", ResultOptions, "what comes out, part of what makes it this run"),
        ("--job", JobOptions, "how the job runs; a failed one is restarted with the present values"),
        ("--wait", WaitOptions, "how its end is waited for"),
    ):
        add_repeated(group, flag, assigned_to(model), "NAME=VALUE", f"{text}: {', '.join(model.model_fields)}")


def _add_pilot(group: Any) -> None:
    group.add_argument(
        "--pilot",
        default=0,
        type=option_of(PilotOptions, "files"),
        metavar="N",
        help="process N files first, as a run of their own, and end with an estimate unless a budget is given",
    )
    names = ", ".join(name for name in PilotOptions.model_fields if name != "files")
    add_repeated(group, "--budget", read_budget, "NAME=VALUE", f"go on by itself within these limits: {names}")


def _add_export(group: Any) -> None:
    group.add_argument(
        "--stage", default="", metavar="NAME", help="stage of the job whose output is taken (default: the export stage)"
    )
    add_repeated(group, "--part", str, "NAME", "only this part of the output")


def _add_datasets(group: Any) -> None:
    add_repeated(group, "--format", str, "NAME", "coco, yolo, voc, csv, jsonl, classification-folders, or your own")
    add_repeated(group, "--dataset-output", str, "NAME", "only predictions of this output of the workflow")
    group.add_argument(
        "--images",
        default="none",
        choices=get_args(AskedImages),
        help="whether the source images are put beside the annotations (default: none)",
    )
    group.add_argument(
        "--validation",
        default=0.0,
        type=option_of(DatasetOptions, "validation"),
        metavar="SHARE",
        help="share of the images in the validation split, by a stable hash of their names (default: 0, no split)",
    )
    group.add_argument("--zip", action="store_true", help="pack each format into one archive")


def _add_judging(group: Any) -> None:
    names = ", ".join(Expectations.model_fields)
    add_repeated(group, "--expect", assigned_to(Expectations), "NAME=VALUE", f"a missed one fails the run: {names}")
    group.add_argument(
        "--compare", default="", metavar="RUN", help="compare with that run, or with the previous one of this request"
    )
    _add_limits(group)


def _add_limits(group: Any) -> None:
    names = ", ".join(name for name in ComparisonOptions.model_fields if name != "against")
    add_repeated(group, "--limit", assigned_to(ComparisonOptions), "NAME=VALUE", f"change from which to tell: {names}")


def _add_stage(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "stage",
        help="list and check a source; nothing is sent",
        description="List a source, check its files and write the manifest. Nothing is sent anywhere.",
        epilog="example: darkroom stage 's3://bucket/2024/**/*.jpg' --references references.jsonl",
    )
    add_source(command)
    command.add_argument(
        "--references",
        default="",
        metavar="FILE",
        help="write signed references here, a JSON line each; whoever has the file can read the media until they end",
    )
    add_runs_option(command)
    return command


def _add_server(commands: Any) -> argparse.ArgumentParser:
    return _add_process(commands, "server", "serve the batch API on this machine")


def _add_webhooks(commands: Any) -> argparse.ArgumentParser:
    return _add_process(commands, "webhooks", "receive notifications and resume the flow runs that wait for them")


def _add_process(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    """A command that becomes another process, which has a parser of its own."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, add_help=False, prefix_chars="\0")
    command.add_argument("arguments", nargs=argparse.REMAINDER)
    return command


def _add_runs(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "runs", help="list the runs", description="List the runs, the latest first."
    )
    add_runs_option(command)
    return command


def _add_show(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "show", help="show one run", description="Show one run, as `darkroom run` ended."
    )
    add_key(command, "run")
    add_runs_option(command)
    return command


def _add_compare(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="compare two runs",
        description="Compare class mix, confidence, failures and throughput of two finished runs. "
        "Exit status 3 when a change is beyond its limit.",
        epilog="example: darkroom compare 3f0c 9a1b --limit class_shift=0.1",
    )
    add_key(command, "before")
    add_key(command, "now")
    _add_limits(command)
    command.add_argument("--json", action="store_true", help="print the comparison as JSON")
    add_runs_option(command)
    return command


def _add_replay(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "replay",
        help="do a run again and compare the results",
        description="Process the files of a finished run once more, as its run.json says, and compare the results row "
        "by row. Exit status 1 when they differ.",
        epilog="example: darkroom replay 3f0c",
    )
    add_key(command, "run")
    add_runs_option(command)
    return command


def _add_compile(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "compile",
        help="have a model compiled for devices",
        description="Have a platform compile a model with TensorRT, and wait until it has. "
        "The same command again finds the same job.",
        epilog="example: darkroom compile my-project/3 --device nvidia-t4 --device nvidia-l4",
    )
    command.add_argument("model", type=read_model, metavar="MODEL", help="id of the model, such as my-project/3")
    command.add_argument(
        "--device",
        action="append",
        default=[],
        choices=get_args(CompilationDevice),
        help="a device that it is compiled for; may be given several times (default: the platform's choice)",
    )
    command.add_argument(
        "--platform",
        default=CLOUD,
        metavar="roboflow|URL",
        help="where it is compiled (default: roboflow, since Darkroom's own server has no TensorRT)",
    )
    command.add_argument(
        "--rerun", default="", type=read_label, metavar="LABEL", help="have it compiled afresh under this label"
    )
    command.add_argument(
        "--deadline-hours",
        default=DEADLINE_HOURS,
        type=option_of(CompilationOptions, "deadline_hours"),
        metavar="HOURS",
        help=f"give up waiting after so long; the job itself goes on (default: {DEADLINE_HOURS:g})",
    )
    return command


def _add_abort(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "abort",
        help="stop the job of a run",
        description="Stop the job of a run that is under way. The command that began the run restarts the job with "
        "what is left.",
        epilog="example: darkroom abort 3f0c",
    )
    add_key(command, "run")
    add_runs_option(command)
    return command


def _add_reap(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "reap",
        help="look after unfinished runs",
        description="Abort the jobs of runs that were cancelled or crashed, and resume suspended runs whose job has "
        "ended. Meant for a schedule, as the deployment reap-runs/reap.",
        epilog="example: darkroom reap --runs s3://bucket/runs",
    )
    add_runs_option(command)
    return command


_ADDERS: Mapping[str, Callable[[Any], argparse.ArgumentParser]] = {
    "run": _add_run,
    "stage": _add_stage,
    "compare": _add_compare,
    "replay": _add_replay,
    "compile": _add_compile,
    "abort": _add_abort,
    "reap": _add_reap,
    "runs": _add_runs,
    "show": _add_show,
    "server": _add_server,
    "webhooks": _add_webhooks,
}
