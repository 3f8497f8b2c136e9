"""Comparing two runs: class mix, confidence, failures and throughput.

The change of a distribution is told by its population stability index: the sum over all bins of
``(p - q) * (ln p - ln q)``, where ``p`` and ``q`` are a bin's shares of both runs, neither taken for less than
:data:`FLOOR` of an even share, so that an empty bin gives a finite number however many bins there are. It is 0 for
equal shares and the same both ways; by custom, 0.1 is a small change and 0.2 a large one. Chance alone gives about
``(bins - 1) * (1 / n + 1 / m)`` to runs of ``n`` and ``m`` predictions, so runs of few predictions want higher limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum, log

from tasks.core.options import ComparisonOptions
from tasks.results.facts import NO_CLASS, RunFacts

FLOOR = 1e-3
MOST_CLASSES = 20


@dataclass(frozen=True)
class Measure:
    """One number of both runs, and whether it changed by more than is borne."""

    name: str
    """Such as ``class mix`` or ``failure rate``."""
    before: str
    """The other run's value, for people."""
    now: str
    change: float | None
    """Population stability index, rise or drop; ``None`` where it cannot be said."""
    limit: float
    beyond: bool
    """The change is at or above the limit; or one run has nothing that could be compared, and the other has."""


@dataclass(frozen=True)
class ClassShare:
    """One class's share of all predictions in both runs, 0 to 1."""

    name: str
    before: float
    now: float


@dataclass(frozen=True)
class Comparison:
    """A run against another one."""

    key: str
    other: str
    """Key of the run that it is compared with."""
    measures: tuple[Measure, ...]
    classes: tuple[ClassShare, ...]
    """The :data:`MOST_CLASSES` classes whose share changed most, first."""

    @property
    def drifted(self) -> bool:
        """Whether any measure is beyond its limit."""
        return any(measure.beyond for measure in self.measures)


def compare(now: RunFacts, before: RunFacts, options: ComparisonOptions) -> Comparison:
    """A run against an earlier one, under the limits of ``options``."""
    measures = (
        _class_mix(now, before, options.class_shift),
        _confidence(now, before, options.confidence_shift),
        _failure_rate(now, before, options.failure_rise),
        _throughput(now, before, options.throughput_drop),
    )
    return Comparison(now.key, before.key, measures, _shares(now, before))


def stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """The population stability index of two distributions over the same bins, neither of them empty."""
    bins = [(one, other) for one, other in zip(now, before, strict=True) if one or other]
    floor, all_now, all_before = FLOOR / len(bins), sum(now), sum(before)
    shares = ((max(one / all_now, floor), max(other / all_before, floor)) for one, other in bins)
    return fsum((p - q) * (log(p) - log(q)) for p, q in shares)


def _class_mix(now: RunFacts, before: RunFacts, limit: float) -> Measure:
    names = now.classes.keys() | before.classes.keys()
    counts = ([facts.classes.get(name, 0) for name in names] for facts in (now, before))
    return _shift("class mix", _predictions(now), _predictions(before), *counts, limit=limit)


def _confidence(now: RunFacts, before: RunFacts, limit: float) -> Measure:
    return _shift("confidence", _mean(now), _mean(before), now.confidences, before.confidences, limit=limit)


def _shift(
    name: str, text: str, text_before: str, now: Sequence[int], before: Sequence[int], *, limit: float
) -> Measure:
    if not any(now) or not any(before):
        return Measure(name, text_before, text, None, limit, any(now) != any(before))
    change = stability_index(now, before)
    return Measure(name, text_before, text, change, limit, change >= limit)


def _failure_rate(now: RunFacts, before: RunFacts, limit: float) -> Measure:
    rate, earlier = (_ratio(facts.without_result, facts.files) for facts in (now, before))
    change = None if rate is None or earlier is None else rate - earlier
    return _measure("failure rate", _percent(now, rate), _percent(before, earlier), change, limit)


def _throughput(now: RunFacts, before: RunFacts, limit: float) -> Measure:
    rate, earlier = (_ratio(facts.processed, facts.seconds) for facts in (now, before))
    drop = 1 - rate / earlier if rate is not None and earlier else None
    return _measure("throughput", _speed(rate), _speed(earlier), drop, limit)


def _measure(name: str, now: str, before: str, change: Fraction | None, limit: float) -> Measure:
    # Rounded only now, so that a rise from 30 % to 35 % is one of 0.05 and not a little less.
    known = None if change is None else float(change)
    return Measure(name, before, now, known, limit, known is not None and known >= limit)


def _ratio(count: int, of: float) -> Fraction | None:
    return count / Fraction(of) if of > 0 else None


def _predictions(facts: RunFacts) -> str:
    classes = sum(count > 0 for count in facts.classes.values())
    return f"{facts.predictions} predictions of {classes} classes" if facts.predictions else "no predictions"


def _mean(facts: RunFacts) -> str:
    return "no confidences" if facts.mean_confidence is None else f"mean {facts.mean_confidence:.3g}"


def _percent(facts: RunFacts, rate: Fraction | None) -> str:
    return "no files" if rate is None else f"{float(100 * rate):.3g} % ({facts.without_result} of {facts.files})"


def _speed(rate: Fraction | None) -> str:
    return "not known" if rate is None else f"{float(rate):.3g} images/s"


def _shares(now: RunFacts, before: RunFacts) -> tuple[ClassShare, ...]:
    all_now, all_before = sum(now.classes.values()) or 1, sum(before.classes.values()) or 1
    shares = [
        ClassShare(name or NO_CLASS, before.classes.get(name, 0) / all_before, now.classes.get(name, 0) / all_now)
        for name in now.classes.keys() | before.classes.keys()
        if now.classes.get(name) or before.classes.get(name)
    ]
    return tuple(sorted(shares, key=lambda share: (-abs(share.now - share.before), share.name))[:MOST_CLASSES])
