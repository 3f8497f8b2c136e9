"""The commands of ``darkroom``, and the door to them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import NoReturn

from flows.command_line.answers import JSON, Answer, answered
from flows.command_line.arguments import PROCESSES, parse
from flows.command_line.completion import completion
from flows.command_line.looking import compare, runs, show, stage
from flows.command_line.run import run
from flows.command_line.upkeep import abort, compilation, reap, replay
from tasks.core.errors import BadInput

Command = Callable[[argparse.Namespace], Answer]


def carry_out(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit status."""
    as_json = JSON in arguments
    return answered(lambda: _answer(arguments, as_json=as_json), as_json=as_json)


def _answer(arguments: Sequence[str], *, as_json: bool) -> Answer:
    _check_encoding(arguments)
    options = parse(arguments, COMMANDS)
    command: Command = options.command
    # A dataset format of an installed package may print: the document stays alone all the same.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        return command(options)


def _check_encoding(arguments: Sequence[str]) -> None:
    """Refuses bytes that are no text: a run's request travels as JSON, which cannot hold them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{argument!r} is not valid UTF-8: rename what it names") from None


def _become(module: str, options: argparse.Namespace) -> NoReturn:
    """Becomes the process of a module, which has a parser of its own."""
    command = [sys.executable, "-m", module, *options.arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own module, arguments as a list


COMMANDS: Mapping[str, Command] = {
    "run": run,
    "stage": stage,
    "runs": runs,
    "show": show,
    "compare": compare,
    "replay": replay,
    "abort": abort,
    "reap": reap,
    "compile": compilation,
    **{name: partial(_become, module) for name, (module, _text) in PROCESSES.items()},
    "completion": completion,
}
