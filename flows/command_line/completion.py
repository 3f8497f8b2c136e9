"""``darkroom completion``: a script that makes a shell complete commands, options, choices, files and folders."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import shtab

from flows.command_line.answers import Answer, line
from flows.command_line.arguments import PROCESSES, build_parser
from flows.command_line.help_style import Parser

PLACES: dict[str, Any] = {
    "SOURCE": shtab.FILE,
    "FILE": shtab.FILE,
    "PLACE": shtab.DIRECTORY,
    "FOLDER": shtab.DIRECTORY,
    "ID": shtab.glob("*.json"),
}
"""What is completed after a word that stands for this."""
HELP_SECONDS = 30.0
_OPTION = re.compile(r"^  (?:-\w, )?(--[a-z-]+)(?: (\S+))?", re.MULTILINE)


def completion(options: argparse.Namespace) -> Answer:
    """``darkroom completion``: prints the script for a shell."""
    script = script_for(options.shell)
    return Answer(script, line(script))


def script_for(shell: str) -> str:
    """The script for a shell of the name."""
    parser, places = build_parser()
    for name, (module, _text) in PROCESSES.items():
        _learn(places[name], module)
    for command in (parser, *places.values()):
        for action in command._actions:
            if action.metavar in PLACES:
                action.complete = PLACES[str(action.metavar)]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _learn(command: Parser, module: str) -> None:
    """Gives the parser of a command the options of the process that it becomes."""
    command.prefix_chars = "-"
    for action in command._get_positional_actions():
        action.help = argparse.SUPPRESS
    for flag, stands_for in _options_of(module):
        if stands_for:
            command.add_argument(flag, metavar=stands_for, choices=_choices(stands_for))
        else:
            command.add_argument(flag, action="store_true")


def _options_of(module: str) -> Iterator[tuple[str, str]]:
    """The options of a process, and what each stands for, from its own help: nothing here may import it."""
    asked = [sys.executable, "-m", module, "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=HELP_SECONDS, check=False)
    for match in _OPTION.finditer(told.stdout):
        yield match[1], match[2] or ""


def _choices(stands_for: str) -> list[str] | None:
    """The words that may follow, where the help names them all."""
    return stands_for[1:-1].split(",") if stands_for.startswith("{") else None
