"""What a person at a terminal sees: live progress a step, a short table at the end, and no tracebacks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tasks.core.errors import DarkroomError
from tasks.core.progress import reporting_to
from tasks.core.records import Piloted, RunOutcome, RunSummary, Surveyed
from tasks.results.compare import Comparison

STEPS = ("stage", "ingest", "launch", "wait", "export", "summarize")
WIDE = 1000
_CHATTER = ("Beginning flow run", "Finished in state", "View at ", "Created task run", "Executing ")
_ENDINGS = ("Finished in state Failed", "Finished in state Crashed", "aborted by an interrupt signal")


class LiveProgress:
    """A bar for each step that reports, made when it first does."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._ids: dict[str, TaskID] = {}

    def advance(self, name: str, n: int, total: int | None = None) -> None:
        """Moves the step's bar."""
        if name not in self._ids:
            self._ids[name] = self._bars.add_task(name, total=total)
        if total is not None:
            self._bars.update(self._ids[name], total=total)
        self._bars.advance(self._ids[name], n)


class QuietConsole(logging.Filter):
    """Keeps log lines for people: the pipeline's own lines, and no traceback for an error that explains itself.

    Args:
        lines: whether lines below a warning are shown; a terminal with bars does without.
    """

    def __init__(self, lines: bool) -> None:
        super().__init__()
        self._lines = lines

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; the same record goes to Prefect's API untouched."""
        if record.levelno < logging.WARNING:
            return self._lines and not record.getMessage().startswith(_CHATTER)
        # The command line prints such an error itself, as its last words.
        return not _explains_itself(record)


def _explains_itself(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, DarkroomError | OSError | KeyboardInterrupt):
        return True
    message = record.getMessage()
    return any(words in message for words in _ENDINGS)


@contextmanager
def watched_run() -> Iterator[None]:
    """Shows the steps of the flow that runs inside: bars in a terminal, log lines elsewhere."""
    live = sys.stderr.isatty()
    quiet = QuietConsole(lines=not live)
    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(quiet)
    try:
        if live:
            with _bars() as bars, reporting_to(LiveProgress(bars)):
                yield
        else:
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(quiet)


def _bars() -> Progress:
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def starting() -> Iterator[Callable[[], None]]:
    """Says in a terminal that servers are starting, until the function given is called or the block ends."""
    with Console(stderr=True).status("starting the servers …") as status:
        yield status.stop


def wide_console() -> Console:
    """Standard output; as wide as the lines are where no person looks."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def print_outcome(outcome: RunOutcome, console: Console) -> None:
    """The short table, the paths, and the last line."""
    if isinstance(outcome, RunSummary):
        _print_facts(_facts(outcome).items(), console)
    elif isinstance(outcome, Piloted):
        _print_facts(_pilot_facts(outcome).items(), console)
    # The last line is read by programs as well: printed as it is, never wrapped.
    console.file.write(outcome.line() + "\n")


def print_survey(surveyed: Surveyed, references: str, console: Console) -> None:
    """What a look at a source found: counts, sizes, and why files were rejected."""
    facts = {
        "source": surveyed.source,
        "files": f"{surveyed.files - surveyed.rejected} to process, {surveyed.bytes / 1e6:.1f} MB",
        "rejected": str(surveyed.rejected),
        "other files": str(surveyed.ignored),
        "manifest": str(surveyed.manifest),
    }
    if references:
        facts["references"] = f"{surveyed.references} in {references}: secret, whoever has them can read the media"
    _print_facts(facts.items(), console)
    if surveyed.reasons:
        console.print("rejected because:")
        _print_facts(((f"{times}x", reason) for reason, times in surveyed.reasons.items()), console)


def _print_facts(facts: Iterable[tuple[str, str]], console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts:
        table.add_row(name, Text(value))  # not markup: a folder may be called [red]
    console.print(table)


def _facts(summary: RunSummary) -> dict[str, str]:
    times = ", ".join(f"{step} {getattr(summary, step + '_seconds'):.1f}" for step in STEPS)
    facts = {
        "source": summary.source,
        "workflow": f"{summary.workflow} on {summary.platform}",
        "files": f"{summary.files}, {summary.bytes / 1e6:.1f} MB",
        "results": f"{summary.processed} rows, {summary.predictions} predictions",
        "seconds": times,
        "folder": summary.place or str(summary.folder),
    }
    for name, value in (("datasets", ", ".join(summary.datasets)), ("published", summary.published)):
        if value:
            facts[name] = value
    return facts


def _pilot_facts(outcome: Piloted) -> dict[str, str]:
    facts = {
        "pilot": f"{outcome.files} of {outcome.of_files} files, {outcome.failed} failed",
        "estimate": f"{outcome.estimate} of machine time for all {outcome.of_files}, at the pilot's parallelism",
    }
    if outcome.credits:
        facts["credits"] = outcome.credits
    return facts | {"go on with": outcome.command}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """A line a measure, the classes that changed most, and the verdict as the last line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("measure", comparison.other, comparison.key, "change", "limit", ""):
        table.add_column(heading)
    for measure in comparison.measures:
        change = "" if measure.change is None else f"{measure.change:.3f}"
        beyond = "beyond" if measure.beyond else ""
        table.add_row(measure.name, measure.before, measure.now, change, f"{measure.limit:g}", beyond)
    for share in comparison.classes:
        table.add_row(Text(f"class {share.name}"), f"{share.before:.1%}", f"{share.now:.1%}")
    console.print(table)
    beyond_all = ", ".join(measure.name for measure in comparison.measures if measure.beyond)
    verdict = f"beyond the limit: {beyond_all}" if beyond_all else "nothing beyond its limit"
    console.file.write(f"run {comparison.key} against {comparison.other}: {verdict}\n")


def print_runs(runs: list[tuple[str, str, RunSummary | None]], console: Console) -> None:
    """A line a run, with its key, its state and what its summary says, in the order given."""
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "processed", "failed", "rejected", "workflow", "source"):
        table.add_column(heading)
    for key, state, summary in runs:
        if summary is None:
            table.add_row(key, state)
            continue
        counts = (str(summary.processed), str(summary.failed), str(summary.rejected))
        table.add_row(key, state, *counts, Text(summary.workflow), Text(summary.source))
    console.print(table)
