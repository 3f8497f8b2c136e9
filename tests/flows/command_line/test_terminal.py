from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from flows.command_line.terminal import QuietConsole, print_outcome, print_runs
from tasks.core.errors import BadInput
from tests.tasks.core.summaries import summary

MARKUP = "photos [red] [/b]"


def console() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=200), written


def record(level: int, message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("prefect", level, __file__, 1, message, (), info)


def test_summary_shows_names_as_they_are() -> None:
    out, written = console()
    shown = summary("a" * 16, source=MARKUP)
    print_outcome(shown, out)
    assert MARKUP in written.getvalue()
    assert written.getvalue().splitlines()[-1] == shown.line()


def test_runs_show_names_and_states_as_they_are() -> None:
    out, written = console()
    done = summary("a" * 16, source=MARKUP)
    print_runs([("aa", "done", done), ("bb", "unfinished", None), ("cc", "damaged", None)], out)
    lines = written.getvalue().splitlines()
    assert MARKUP in lines[1]
    assert [line.split()[:2] for line in lines[2:]] == [["bb", "unfinished"], ["cc", "damaged"]]


@pytest.mark.parametrize("error", [BadInput("x"), OSError(28, "full"), KeyboardInterrupt()])
def test_console_leaves_errors_to_the_command_line_that_tells_them(error: BaseException) -> None:
    assert not QuietConsole(lines=True).filter(record(logging.ERROR, "Encountered exception", error))


def test_console_shows_errors_that_nobody_else_tells() -> None:
    quiet = QuietConsole(lines=False)
    assert quiet.filter(record(logging.ERROR, "Encountered exception", RuntimeError("a fault of ours")))
    assert quiet.filter(record(logging.WARNING, "run is under way in another process"))


def test_console_does_not_call_an_interrupt_a_crash() -> None:
    message = "Crash detected! Execution was aborted by an interrupt signal."
    assert not QuietConsole(lines=True).filter(record(logging.ERROR, message))


def test_console_shows_lines_only_where_there_are_no_bars() -> None:
    assert QuietConsole(lines=True).filter(record(logging.INFO, "ingest: 3 sent"))
    assert not QuietConsole(lines=False).filter(record(logging.INFO, "ingest: 3 sent"))
    assert not QuietConsole(lines=True).filter(record(logging.INFO, "Beginning flow run 'x'"))
