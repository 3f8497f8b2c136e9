"""How the parsers of ``darkroom`` speak: help with examples, and errors that name what was probably meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from tasks.core.errors import BadInput

EXAMPLE = "example:"
LIKENESS = 0.6


class UsageError(BadInput):
    """The words of a command cannot be parsed.

    Attributes:
        command: as it is called.
        usage: how its words go.
    """

    def __init__(self, message: str, command: str, usage: str) -> None:
        super().__init__(message)
        self.command = command
        self.usage = usage


class HelpStyle(argparse.HelpFormatter):
    """Keeps examples as they were written, each on a line that can be copied."""

    def add_argument(self, action: argparse.Action) -> None:
        """Leaves room for the longest command as well, which argparse counts without its indentation."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(EXAMPLE) else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser in the style of ``darkroom``.

    Options are never abbreviated: what a script says keeps its meaning when options join.
    """

    def __init__(self, **settings: Any) -> None:
        style: dict[str, Any] = {"formatter_class": HelpStyle, "allow_abbrev": False}
        super().__init__(**style | settings)

    def error(self, message: str) -> NoReturn:
        """Raises what was wrong, for the command line to tell.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, self.prog, self.format_usage())

    def flags(self) -> list[str]:
        """Every option as it is written."""
        return [flag for action in self._actions for flag in action.option_strings]

    def check_flags(self, words: Iterable[str]) -> None:
        """Refuses long options that are not there, before what is missing besides is complained of.

        Raises:
            UsageError: naming the option that was probably meant.
        """
        known = self.flags()
        for word in words:
            if word == "--":
                return
            flag = word.partition("=")[0]
            if flag.startswith("--") and " " not in word and flag not in known:
                self.error(f"there is no option {flag}{meant(flag, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise


def add_command(commands: Any, name: str, text: str, description: str, *examples: str, **settings: Any) -> Parser:
    """A command with one line of help, a description, and examples that can be copied.

    Args:
        commands: of the parser.
        name: of the command.
        text: one line.
        description: what it does, and what it leaves alone.
        examples: whole commands.
        settings: further ones of the parser.
    """
    lines = [EXAMPLE, *(f"  {example}" for example in examples)]
    made: Parser = commands.add_parser(name, help=text, description=description, epilog="\n".join(lines), **settings)
    return made


def meant(word: str, known: Iterable[str]) -> str:
    """The question after a word that is not known, or nothing where none is like it."""
    like = difflib.get_close_matches(word, list(known), n=1, cutoff=LIKENESS)
    return f": did you mean {like[0]}?" if like else ""
