"""What a person at a terminal sees: live progress a step, a short table at the end, and no tracebacks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.command_line.bars import Bars, Lines
from tasks.core.errors import DarkroomError
from tasks.core.progress import Progress, reporting_to
from tasks.core.records import Piloted, RunOutcome, RunSummary, Surveyed
from tasks.results.compare import Comparison
from tasks.steps.planning import Planned

STEPS = ("stage", "ingest", "launch", "wait", "export", "summarize")
WIDE = 1000
REFRESHES = 8
"""A second, of the bars."""
STARTING = "starting the servers …"
PROGRESS = logging.getLogger("darkroom")
_CHATTER = ("Beginning flow run", "Finished in state", "View at ", "Created task run", "Executing ")
_ENDINGS = ("Finished in state Failed", "Finished in state Crashed", "aborted by an interrupt signal")


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


class AboveBars(logging.Filter):
    """Prints what a handler would write above the bars, which a line in their midst would tear apart.

    Args:
        handler: the handler, which then writes nothing itself.
        console: that the bars are drawn on.
    """

    def __init__(self, handler: logging.Handler, console: Console) -> None:
        super().__init__()
        self._handler = handler
        self._console = console

    def filter(self, record: logging.LogRecord) -> bool:
        """Never true; the record has been printed."""
        self._console.print(Text(self._handler.format(record)), soft_wrap=True)
        return False


def is_live() -> bool:
    """Whether a person looks at a terminal in which lines can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


@contextmanager
def watched_run() -> Iterator[None]:
    """Shows the steps of the flow that runs inside: bars in a terminal, log lines elsewhere."""
    with ExitStack() as stack:
        live = is_live()
        handlers = logging.getLogger().handlers
        for handler in handlers:
            stack.enter_context(_filtered(handler, QuietConsole(lines=not live)))
        if not live:
            PROGRESS.setLevel(logging.INFO)
            stack.enter_context(reporting_to(Lines(PROGRESS.info)))
        else:
            console = Console(stderr=True)
            stack.enter_context(reporting_to(stack.enter_context(_drawn(console))))
            for handler in handlers:
                stack.enter_context(_filtered(handler, AboveBars(handler, console)))
        yield


@contextmanager
def watched_step() -> Iterator[Progress]:
    """Shows a step that runs inside, without a flow and its log."""
    if is_live():
        with _drawn(Console(stderr=True)) as bars:
            yield bars
    else:
        yield Lines(_say)


@contextmanager
def _drawn(console: Console) -> Iterator[Bars]:
    bars = Bars()
    with Live(bars, console=console, refresh_per_second=REFRESHES):
        yield bars


@contextmanager
def _filtered(handler: logging.Handler, added: logging.Filter) -> Iterator[None]:
    handler.addFilter(added)
    try:
        yield
    finally:
        handler.removeFilter(added)


@contextmanager
def starting() -> Iterator[Callable[[], None]]:
    """Says in a terminal that servers are starting, until the function given is called or the block ends."""
    if is_live():
        with Console(stderr=True).status(STARTING) as status:
            yield status.stop
        return
    if sys.stderr.isatty():
        _say(STARTING)
    yield lambda: None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


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
    _print_reasons(surveyed.reasons, console)


def print_plan(planned: Planned, console: Console) -> None:
    """What a run would do, and why files were rejected; the last line is for programs as well."""
    _print_facts(_plan_facts(planned).items(), console)
    _print_reasons(planned.reasons, console)
    if pilot := planned.pilot:
        facts = {"pilot": f"run {pilot.key} ({pilot.state}), {_sent(pilot)}, {pilot.requests} requests more"}
        _print_facts(facts.items(), console)
    console.file.write(planned.line() + "\n")


def _plan_facts(planned: Planned) -> dict[str, str]:
    facts = {
        "source": planned.source,
        "workflow": f"{planned.workflow} on {planned.platform}",
        "run": f"{planned.key} ({planned.state})",
        "job": planned.job_id,
        "files": f"{planned.to_send} to process, {planned.bytes / 1e6:.1f} MB",
        "rejected": str(planned.rejected),
        "other files": str(planned.ignored),
    }
    if planned.state != "finished":
        note = f" ({planned.note})" if planned.note else ""
        facts |= {"transfer": _sent(planned) + note, "requests": str(planned.requests)}
    return facts | {"time": _foreseen(planned)}


def _sent(planned: Planned) -> str:
    ways = {
        "one by one": f"{_several(planned.parts, 'file')} uploaded one by one",
        "shards": f"uploaded in {_several(planned.parts, 'tar shard')}",
        "references": f"fetched by the platform, referred to in {_several(planned.parts, 'request')}",
        "query": "picked by the platform",
    }
    return ways[planned.sending]


def _foreseen(planned: Planned) -> str:
    if planned.state == "finished":
        return "none: it is finished"
    if planned.seconds is None:
        return "unknown: no finished run of this workflow here"
    rests = f"{planned.seconds_a_file:.3g} s a file in {_several(planned.finished_runs, 'finished run')}"
    return f"about {_time(planned.seconds)} ({rests})"


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count:,} {what}s"


def _time(seconds: float) -> str:
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds:.0f} s"


def _print_reasons(reasons: Mapping[str, int], console: Console) -> None:
    if reasons:
        console.print("rejected because:")
        _print_facts(((f"{times}x", reason) for reason, times in reasons.items()), console)


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
