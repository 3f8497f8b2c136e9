"""Words that several commands of ``darkroom`` have, and how they are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from tasks.core.options import ComparisonOptions, parse_option
from tasks.core.pilot import PilotOptions
from tasks.core.request import check_label, parse_parameter

PLACE = "PLACE"


def add_source(command: argparse.ArgumentParser) -> None:
    """The source of a command."""
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="folder, s3://, gs://, az:// or sftp:// place, pattern such as 's3://bucket/2024/**/*.jpg', "
        "or references.jsonl",
    )


def add_key(command: argparse.ArgumentParser, name: str) -> None:
    """The key of a run."""
    command.add_argument(name, metavar=name.upper(), help="key of a run, or its first digits")


def add_runs_option(command: argparse.ArgumentParser) -> None:
    """The place of the runs."""
    command.add_argument(
        "--runs", metavar=PLACE, help="folder of the runs, here or in a bucket (default: DARKROOM_RUNS or ./runs)"
    )


def add_credentials_option(command: argparse.ArgumentParser) -> None:
    """The block with credentials for buckets."""
    command.add_argument(
        "--credentials",
        default="",
        metavar="BLOCK",
        help="Prefect block with the credentials for buckets, such as aws-credentials/mine (default: those of the "
        "environment)",
    )


def add_json_option(command: argparse.ArgumentParser) -> None:
    """Output for programs."""
    command.add_argument(
        "--json", action="store_true", help="print one JSON document, an error too; progress goes to standard error"
    )


def add_rerun_option(command: argparse.ArgumentParser, text: str) -> None:
    """The label for work that is done afresh."""
    command.add_argument("--rerun", default="", type=read_label, metavar="LABEL", help=f"{text} under this label")


def add_limits(group: Any) -> None:
    """From which change a comparison tells of it."""
    names = ", ".join(name for name in ComparisonOptions.model_fields if name != "against")
    add_repeated(group, "--limit", assigned_to(ComparisonOptions), "NAME=VALUE", f"change from which to tell: {names}")


def comparison_options(options: argparse.Namespace, against: str) -> ComparisonOptions:
    """A comparison with the run ``against``, under the limits that all ``--limit`` say."""
    return ComparisonOptions.model_validate(dict(options.limit) | {"against": against})


def add_repeated(group: Any, flag: str, read: Callable[[str], Any], metavar: str, text: str) -> None:
    """A flag that may be given several times; ``read`` makes a value of each word."""
    group.add_argument(
        flag, action="append", default=[], type=read, metavar=metavar, help=f"{text}; may be given several times"
    )


def read_parameter(text: str) -> Any:
    """A parameter of the workflow."""
    return _told(parse_parameter, text)


def read_label(text: str) -> Any:
    """A label for work that is done afresh."""
    return _told(check_label, text)


def read_model(text: str) -> str:
    """The id of a model."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a model, such as my-project/3")
    return text


def assigned_to(model: type[BaseModel]) -> Callable[[str], Any]:
    """Reads ``NAME=VALUE`` as a field of ``model``."""
    return lambda text: _told(lambda words: parse_option(model, words), text)


def option_of(model: type[BaseModel], name: str) -> Callable[[str], Any]:
    """Reads the value of one field of ``model``."""
    return lambda text: _told(lambda value: parse_option(model, f"{name}={value}"), text)[1]


def read_budget(text: str) -> Any:
    """A limit on what a run may take after its pilot."""
    if text.startswith("files="):
        raise argparse.ArgumentTypeError(f"{text}: name the number of files with --pilot")
    return assigned_to(PilotOptions)(text)


def _told(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
