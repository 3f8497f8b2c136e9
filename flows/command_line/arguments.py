"""The arguments of ``darkroom``: one parser, and a function for each command's words."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_args

from flows.command_line.help_style import Parser, add_command, meant
from flows.command_line.run_words import add_run
from flows.command_line.words import (
    add_credentials_option,
    add_json_option,
    add_key,
    add_limits,
    add_rerun_option,
    add_runs_option,
    add_source,
    option_of,
    read_model,
)
from tasks.roboflow_api.models import CompilationDevice
from tasks.roboflow_api.platform import CLOUD
from tasks.steps.compiling import DEADLINE_HOURS, CompilationOptions

PROGRAM = "darkroom"
PROCESSES: Mapping[str, tuple[str, str]] = {
    "server": ("deployments.batch_server", "serve the batch API on this machine"),
    "webhooks": ("deployments.webhooks", "receive notifications and resume the flow runs that wait for them"),
    "setup": ("deployments.setup", "register blocks, limits and automations with Prefect"),
}
"""The commands that become another process: its module, which has a parser of its own, and what it does."""
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def parse(arguments: Sequence[str], commands: Mapping[str, Callable[..., Any]]) -> argparse.Namespace:
    """The parsed arguments; ``command`` is the one to carry out.

    Args:
        arguments: without the program's name; without any, the help is printed.
        commands: what carries each command out, by its name.

    Raises:
        UsageError: they cannot be parsed.
        SystemExit: help or version were asked for, and printed.
    """
    parser, places = build_parser()
    if not arguments:
        parser.print_help()
        raise SystemExit(0)
    _check(parser, places, arguments)
    options = parser.parse_args(arguments)
    options.command = commands[options.name]
    return options


def build_parser() -> tuple[Parser, Mapping[str, Parser]]:
    """The parser, and that of each command."""
    parser = Parser(
        prog=PROGRAM,
        description="Process folders and buckets of images with a computer-vision workflow, and account for each.",
        epilog="example:\n  darkroom run ./photos --workflow photo-audit\n  darkroom run --help",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    places = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="name")
    return parser, {name: add(places) for name, add in _ADDERS.items()}


def _check(parser: Parser, places: Mapping[str, Parser], arguments: Sequence[str]) -> None:
    """Tells of commands and options that are not there before argparse complains of what is missing."""
    words = list(arguments)
    before = words[: _first_plain(words)]
    parser.check_flags(before)
    if len(before) == len(words):
        return
    name, *after = words[len(before) :]
    if name not in places:
        parser.error(f"there is no command {name}{meant(name, places)}")
    if name not in PROCESSES:
        places[name].check_flags(after)


def _first_plain(words: Sequence[str]) -> int:
    """Where the first word stands that is no option."""
    return next((index for index, word in enumerate(words) if not word.startswith("-")), len(words))


def _add_stage(commands: Any) -> Parser:
    command = add_command(
        commands,
        "stage",
        "list and check a source; nothing is sent",
        "List a source, check its files and write the manifest. Nothing is sent anywhere.",
        "darkroom stage ./photos",
        "darkroom stage 's3://bucket/2024/**/*.jpg' --references references.jsonl",
    )
    add_source(command)
    command.add_argument(
        "--references",
        default="",
        metavar="FILE",
        help="write signed references here, a JSON line each; whoever has the file can read the media until they end",
    )
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_process(name: str) -> Callable[[Any], Parser]:
    def add(commands: Any) -> Parser:
        command: Parser = commands.add_parser(name, help=PROCESSES[name][1], add_help=False, prefix_chars="\0")
        command.add_argument("arguments", nargs=argparse.REMAINDER)
        return command

    return add


def _add_runs(commands: Any) -> Parser:
    command = add_command(
        commands,
        "runs",
        "list the runs",
        "List the runs, the latest first, finished or not.",
        "darkroom runs",
        "darkroom runs --runs s3://bucket/runs --json",
    )
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_show(commands: Any) -> Parser:
    command = add_command(
        commands, "show", "show one run", "Show one run, as `darkroom run` ended.", "darkroom show 3f0c"
    )
    add_key(command, "run")
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_compare(commands: Any) -> Parser:
    command = add_command(
        commands,
        "compare",
        "compare two runs",
        "Compare class mix, confidence, failures and throughput of two finished runs. "
        "Exit status 3 when a change is beyond its limit.",
        "darkroom compare 3f0c 9a1b --limit class_shift=0.1",
    )
    add_key(command, "before")
    add_key(command, "now")
    add_limits(command)
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_replay(commands: Any) -> Parser:
    command = add_command(
        commands,
        "replay",
        "do a run again and compare the results",
        "Process the files of a finished run once more, as its run.json says, and compare the results row "
        "by row. Exit status 1 when they differ.",
        "darkroom replay 3f0c",
    )
    add_key(command, "run")
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_compile(commands: Any) -> Parser:
    command = add_command(
        commands,
        "compile",
        "have a model compiled for devices",
        "Have a platform compile a model with TensorRT, and wait until it has. "
        "The same command again finds the same job.",
        "darkroom compile my-project/3 --device nvidia-t4 --device nvidia-l4",
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
        metavar="roboflow|URL|block:NAME",
        help="where it is compiled (default: roboflow, since Darkroom's own server has no TensorRT)",
    )
    command.add_argument(
        "--deadline-hours",
        default=DEADLINE_HOURS,
        type=option_of(CompilationOptions, "deadline_hours"),
        metavar="HOURS",
        help=f"give up waiting after so long; the job itself goes on (default: {DEADLINE_HOURS:g})",
    )
    add_rerun_option(command, "have it compiled afresh")
    add_json_option(command)
    return command


def _add_abort(commands: Any) -> Parser:
    command = add_command(
        commands,
        "abort",
        "stop the job of a run",
        "Stop the job of a run that is under way. The command that began the run restarts the job with what is left.",
        "darkroom abort 3f0c",
    )
    add_key(command, "run")
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_reap(commands: Any) -> Parser:
    command = add_command(
        commands,
        "reap",
        "look after unfinished runs",
        "Abort the jobs of runs that were cancelled or crashed, and resume suspended runs whose job has "
        "ended. Meant for a schedule, as the deployment reap-runs/reap.",
        "darkroom reap --runs s3://bucket/runs",
    )
    add_runs_option(command)
    add_credentials_option(command)
    add_json_option(command)
    return command


def _add_completion(commands: Any) -> Parser:
    command = add_command(
        commands,
        "completion",
        "print a script with which a shell completes commands",
        "Print a script for your shell, to be read when it starts: commands, options, their choices, files and "
        "folders are completed from then on.",
        "darkroom completion bash",
        "darkroom completion bash > ~/.darkroom-completion",
    )
    command.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    return command


_ADDERS: Mapping[str, Callable[[Any], Parser]] = {
    "run": add_run,
    "stage": _add_stage,
    "runs": _add_runs,
    "show": _add_show,
    "compare": _add_compare,
    "replay": _add_replay,
    "abort": _add_abort,
    "reap": _add_reap,
    "compile": _add_compile,
    **{name: _add_process(name) for name in PROCESSES},
    "completion": _add_completion,
}
