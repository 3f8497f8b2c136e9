"""Judging a run by what was expected of it.

What cannot be judged is missed: a gate that nothing was led through is not passed. So a limit on a share is missed
where there is nothing that it is a share of, and a mean where nothing has a confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.core.options import Expectations
from tasks.results.facts import NO_CLASS, OTHER_CLASSES, RunFacts

SHOWN_MISSED = 10
_MOST_DIGITS = 17
"""Enough to tell any two numbers apart."""


@dataclass(frozen=True)
class Verdict:
    """One expectation and whether the run meets it."""

    name: str
    """Such as ``most failures`` or ``required class car``."""
    wanted: str
    """Such as ``at most 5``."""
    found: str
    """Such as ``7``."""
    met: bool


def judge(expectations: Expectations, facts: RunFacts) -> tuple[Verdict, ...]:
    """A verdict on each expectation that is set, one on each class; a number that is at its limit meets it."""
    return (
        *_on_shares(expectations, facts),
        *_on_confidence(expectations, facts),
        *(_required(name, facts) for name in dict.fromkeys(expectations.required_classes)),
        *(_forbidden(name, facts) for name in dict.fromkeys(expectations.forbidden_classes)),
    )


def missed(verdicts: Iterable[Verdict]) -> str:
    """The missed expectations in one line, with what was wanted and found; empty where all are met."""
    told = [f"{one.name}: wanted {one.wanted}, found {one.found}" for one in verdicts if not one.met]
    more = [f"{len(told) - SHOWN_MISSED} more"] if len(told) > SHOWN_MISSED else []
    return " ".join("; ".join(told[:SHOWN_MISSED] + more).split())


def watched_classes(expectations: Expectations) -> tuple[str, ...]:
    """The classes that are to be counted by name to be judged."""
    return (*expectations.required_classes, *expectations.forbidden_classes)


def _on_shares(expectations: Expectations, facts: RunFacts) -> Iterator[Verdict]:
    failures = facts.without_result
    if (most := expectations.max_failures) is not None:
        yield Verdict("most failures", f"at most {most}", str(failures), failures <= most)
    if (limit := expectations.max_failure_rate) is not None:
        yield _share("highest failure rate", limit, failures, facts.files, "files")
    if (limit := expectations.max_empty_rate) is not None:
        yield _share("highest share of empty results", limit, facts.empty, facts.processed, "processed images")


def _share(name: str, limit: float, count: int, total: int, of_what: str) -> Verdict:
    wanted = f"at most {_exact(limit)}"
    if not total:
        return Verdict(name, wanted, f"no {of_what}", met=False)
    share = count / total
    return Verdict(name, wanted, f"{_text(share, limit)} ({count} of {total})", share <= limit)


def _on_confidence(expectations: Expectations, facts: RunFacts) -> Iterator[Verdict]:
    if (limit := expectations.min_mean_confidence) is not None:
        yield _least("least mean confidence", limit, facts.mean_confidence)
    if (limit := expectations.min_confidence) is not None:
        if facts.predictions:
            yield _least("least confidence", limit, facts.least_confidence)
        else:  # of no predictions none is below
            yield Verdict("least confidence", f"at least {_exact(limit)}", "no predictions", met=True)


def _least(name: str, limit: float, found: float | None) -> Verdict:
    wanted = f"at least {_exact(limit)}"
    if found is None:
        return Verdict(name, wanted, "no confidences", met=False)
    return Verdict(name, wanted, _text(found, limit), found >= limit)


def _required(name: str, facts: RunFacts) -> Verdict:
    count = _count(name, facts)
    return Verdict(f"required class {name or NO_CLASS}", "at least once", _times(count), bool(count))


def _forbidden(name: str, facts: RunFacts) -> Verdict:
    count = _count(name, facts)
    return Verdict(f"forbidden class {name or NO_CLASS}", "never", _times(count), count == 0)


def _count(name: str, facts: RunFacts) -> int | None:
    """Predictions of a class, or ``None`` where it was not counted by name."""
    return facts.classes.get(name, None if OTHER_CLASSES in facts.classes else 0)


def _times(count: int | None) -> str:
    if count is None:
        return "too many classes to tell"
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _text(value: float, limit: float) -> str:
    """``value`` with as few digits as tell it from a limit that it is not."""
    texts = (f"{value:.{digits}g}" for digits in range(4, _MOST_DIGITS + 1))
    return next(text for text in texts if value == limit or float(text) != limit)


def _exact(limit: float) -> str:
    return str(limit).removesuffix(".0")
