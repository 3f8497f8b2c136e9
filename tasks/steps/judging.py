"""Judging a run: by what was expected of it, and against an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.core.errors import BadInput, ExpectationsMissed
from tasks.core.options import PREVIOUS, Expectations
from tasks.core.records import RunSummary
from tasks.core.request import RunRequest
from tasks.results.compare import Comparison, compare
from tasks.results.expectations import Verdict, judge, missed, watched_classes
from tasks.results.facts import RunFacts, facts_of
from tasks.steps.context import Run
from tasks.steps.export import exported_as_asked
from tasks.steps.previous import find_previous, open_run
from tasks.steps.runs import Runs


@dataclass(frozen=True)
class Judgement:
    """What is said of a run.

    Attributes:
        verdicts: one for each expectation.
        comparison: with the run that was asked for; ``None`` where none was, or where there is no earlier one.
    """

    verdicts: tuple[Verdict, ...] = ()
    comparison: Comparison | None = None

    def check(self, key: str) -> None:
        """Raises where an expectation is missed.

        Raises:
            ExpectationsMissed: naming each, with what was wanted and what was found.
        """
        if not all(verdict.met for verdict in self.verdicts):
            raise ExpectationsMissed(f"run {key} misses expectations: {missed(self.verdicts)}")


Show = Callable[[Judgement], None]


def judge_run(run: Run, read: Callable[[], RunFacts]) -> Judgement:
    """What is said of the run; its facts are read only where something is to be judged."""
    request = run.target.request
    if request.expectations == Expectations() and not request.comparison.against:
        return Judgement()
    facts = read()
    return Judgement(judge(request.expectations, facts), _compare(run, facts))


def finished_as_asked(run: Run, show: Show = lambda _judgement: None) -> RunSummary | None:
    """The summary of a finished run whose export is the one that is asked for and that meets what is expected now.

    Args:
        run: the run.
        show: told what is said of the run, before any of it fails the run.

    Raises:
        ExpectationsMissed: it is finished, and does not meet it.
    """
    summary, request = run.folder.finished(), run.target.request
    if summary is None or not exported_as_asked(run):
        return None
    if request.expectations != Expectations():
        facts = facts_of(run.folder, watched_classes(request.expectations))
        judgement = Judgement(judge(request.expectations, facts))
        show(judgement)
        judgement.check(summary.key)
    return summary


def compare_finished(run: Run) -> Comparison | None:
    """A finished run against the one that is asked for."""
    return _compare(run, facts_of(run.folder))


def check_comparison(request: RunRequest, runs: Runs) -> None:
    """Looks for the run to compare with, so that a wrong key is told before any work.

    Raises:
        BadInput: there is no such run, or it is not finished.
    """
    if request.comparison.against not in ("", PREVIOUS):
        with open_run(runs, request.comparison.against, request.runs) as other:
            if other.finished() is None:
                raise BadInput(f"run {other.key} is not finished: there is nothing to compare with yet")


def _compare(run: Run, facts: RunFacts) -> Comparison | None:
    request, runs = run.target.request, run.target.runs
    against = request.comparison.against
    if not against:
        return None
    if against == PREVIOUS:
        with find_previous(runs, request, run.folder.key) as previous:
            return None if previous is None else compare(facts, facts_of(previous), request.comparison)
    with open_run(runs, against, request.runs) as other:
        return compare(facts, facts_of(other), request.comparison)
