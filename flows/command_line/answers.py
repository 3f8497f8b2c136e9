"""What a command has to say: lines for a person, or with ``--json`` one document for a program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from flows.command_line.help_style import UsageError
from flows.command_line.terminal import wide_console
from tasks.core.errors import DarkroomError, local_fault
from tasks.core.redaction import redact

JSON = "--json"


@dataclass(frozen=True)
class Answer:
    """What came of a command.

    Attributes:
        document: for programs: a record, a mapping, or a list of such.
        show: prints the same for a person.
        status: exit status of the process.
    """

    document: Any
    show: Callable[[Console], None]
    status: int = 0


def line(text: str) -> Callable[[Console], None]:
    """Prints one line, as it is and never wrapped: programs read it as well."""

    def show(console: Console) -> None:
        console.file.write(f"{text}\n")

    return show


def say(text: str) -> None:
    """News for the person who waits; standard output is left to the answer."""
    sys.stderr.write(f"{text}\n")


def answered(work: Callable[[], Answer], *, as_json: bool) -> int:
    """Carries out a command's work and prints its answer, or what went wrong; gives the exit status.

    Args:
        work: what is to be done.
        as_json: whether a document is wanted, of errors as well.
    """
    try:
        answer = work()
        _print_answer(answer, as_json=as_json)
        return answer.status
    except DarkroomError as error:
        return _print_error(error, as_json=as_json)
    except OSError as error:
        return _print_error(local_fault(error), as_json=as_json)
    except Exception as error:
        if as_json:
            print_fault(error)
        raise


def _print_answer(answer: Answer, *, as_json: bool) -> None:
    """The answer on standard output; who reads it may stop at any line, as ``head`` does."""
    try:
        if as_json:
            _print_document(answer.document)
        else:
            answer.show(wide_console())
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else Python complains when it flushes at the end


def _print_error(error: DarkroomError, *, as_json: bool) -> int:
    """One line on standard error, and for programs a document on standard output; gives the exit status."""
    if as_json:
        print_fault(error)
    said = redact(str(error))
    say(f"{error.usage}{error.command}: {said}" if isinstance(error, UsageError) else f"darkroom: {said}")
    return error.exit_status


def print_fault(error: BaseException) -> None:
    """The document of an error."""
    _print_document({"error": {"type": type(error).__name__, "message": str(error)}})


def _print_document(document: Any) -> None:
    sys.stdout.write(json.dumps(_plain(document), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    """The value as JSON has it, without secrets."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return redact(value) if isinstance(value, str) else value
