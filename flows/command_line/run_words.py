"""The words of ``darkroom run``, and the request that they make."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from flows.command_line.help_style import Parser, add_command
from flows.command_line.words import (
    PLACE,
    add_credentials_option,
    add_json_option,
    add_limits,
    add_repeated,
    add_rerun_option,
    add_runs_option,
    add_source,
    assigned_to,
    comparison_options,
    option_of,
    read_budget,
    read_parameter,
)
from tasks.core.identity import ResultOptions
from tasks.core.job_options import JobOptions, WaitOptions
from tasks.core.options import AskedImages, DatasetOptions, Expectations, ExportChoice
from tasks.core.pilot import PilotOptions
from tasks.core.request import AskedTransfer, RunRequest
from tasks.roboflow_api.platform import EMBEDDED


def add_run(commands: Any) -> Parser:
    """``darkroom run``."""
    command = add_command(
        commands,
        "run",
        "stage, ingest, launch, wait, export, summarize",
        "Run the pipeline on a source. The same command again finds the same run and goes on with it.",
        "darkroom run ./photos --workflow photo-audit",
        "darkroom run 's3://bucket/2024/**/*.jpg' --workflow my-workflow --platform roboflow --dry-run",
        "darkroom run ./photos --workflow photo-audit --format coco --expect max_failures=0",
        usage="%(prog)s SOURCE --workflow ID [options]",
    )
    add_source(command)
    _add_work(command)
    _add_job(command.add_argument_group("the job"))
    _add_pilot(command.add_argument_group("a pilot, which estimates the whole"))
    _add_export(command.add_argument_group("what is exported"))
    _add_datasets(command.add_argument_group("datasets, written to datasets/ in the run's folder"))
    _add_judging(command.add_argument_group("judging the results"))
    return command


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
        credentials=options.credentials,
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


def _add_work(command: Parser) -> None:
    command.add_argument(
        "--workflow", required=True, metavar="ID", help="id of a workflow, or a definition file such as ./mine.json"
    )
    add_repeated(command, "--param", read_parameter, "NAME=VALUE", "a parameter of the workflow")
    command.add_argument(
        "--platform",
        default=EMBEDDED,
        metavar="embedded|roboflow|URL|block:NAME",
        help="where the work is done; block:NAME is a Roboflow Platform block of Prefect's (default: embedded, a "
        "server on this machine, started on the spot)",
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
        "--destination", default="", metavar=PLACE, help="folder or bucket that the results are published to as well"
    )
    add_runs_option(command)
    add_credentials_option(command)
    add_rerun_option(command, "do the same work afresh")
    command.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and how long it may take; nothing is sent"
    )
    add_json_option(command)


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
    add_limits(group)
