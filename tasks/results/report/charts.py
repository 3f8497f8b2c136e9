"""Small charts as inline SVG.

Bars repeat numbers that stand beside them and are hidden from screen readers; a histogram has its numbers in its
accessible name, and those of a column under the mouse.
"""

from __future__ import annotations

from tasks.results.report.model import Counts, Histogram, StepTime
from tasks.results.report.text import number, plural, safe

_HISTOGRAM_HEIGHT = 64
_HISTOGRAM_WIDTH = 240
_WIDEST = 24
"""Widest column, so that few of them do not look like a wall."""
_APART = 36
"""Width of the column at the left and the gap after it."""


def reconciliation_bar(counts: Counts) -> str:
    """Every file as a share of one bar, by the state it ended in."""
    parts = (
        ("processed", counts.processed),
        ("failed", counts.failed),
        ("rejected", counts.rejected),
        ("unaccounted", max(counts.unaccounted, 0)),
    )
    shown = [(name, count) for name, count in parts if count]
    # A share too small to see still has to be seen.
    weights = [max(count / max(counts.files, 1), 0.006) for _, count in shown]
    scale = 1000 / sum(weights) if weights else 0
    pieces, left = [], 0.0
    for (name, _), weight in zip(shown, weights, strict=True):
        width = weight * scale
        gap = 2 if left else 0
        pieces.append(_rect(name, left + gap, 0, max(width - gap, 1), 20))
        left += width
    return _bar("".join(pieces))


def step_bar(steps: tuple[StepTime, ...], place: int) -> str:
    """One step on the time line of all."""
    total = sum(step.seconds for step in steps) or 1.0
    start = sum(step.seconds for step in steps[:place]) / total * 1000
    width = max(steps[place].seconds / total * 1000, 3)
    return _bar(_rect("track", 0, 9, 1000, 2) + _rect("fill", min(start, 997), 3, width, 14))


def share_bar(value: float, largest: float, tone: str = "fill") -> str:
    """``value`` as a part of ``largest``."""
    width = max(value / largest * 1000, 3) if largest else 0
    return _bar(_rect(tone, 0, 3, width, 14))


def change_bars(before: float, now: float) -> str:
    """Two shares of 0 to 1, one above the other."""
    return _bar(_rect("quiet", 0, 1, max(before * 1000, 3), 7) + _rect("fill", 0, 11, max(now * 1000, 3), 8))


def histogram_chart(histogram: Histogram, what: str, one: str, tone: str = "fill", apart: int = 0) -> str:
    """Bins as columns, with their numbers as accessible name.

    Args:
        histogram: what is drawn.
        what: what it is of, such as ``confidence``.
        one: the singular of what is counted, such as ``image``.
        tone: class of the columns' colour.
        apart: how often there was 0, which is not in the histogram; drawn as a column of its own at the left.
    """
    zero = [(0.0, apart, "quiet", f"0: {plural(apart, one)}")] if apart else []
    places, width = _columns(len(histogram.counts), _APART if apart else 0.0)
    columns = zero + [
        (places[place], count, tone, f"{bin_name(histogram, place)}: {plural(count, one)}")
        for place, count in enumerate(histogram.counts)
        if count
    ]
    tallest = max(count for _, count, _, _ in columns)
    body = _rect("track", 0, _HISTOGRAM_HEIGHT, _HISTOGRAM_WIDTH, 1)
    for x, count, colour, told in columns:
        height = max(count / tallest * _HISTOGRAM_HEIGHT, 1.5)
        body += _rect(colour, x, _HISTOGRAM_HEIGHT - height, width, height, told)
    told = "; ".join(told for _, _, _, told in columns)
    return (
        f'<svg class="histogram" viewBox="0 0 {_HISTOGRAM_WIDTH} {_HISTOGRAM_HEIGHT + 1}" preserveAspectRatio="none"'
        f' role="img" aria-label="Histogram of {safe(what)}. {told}">{body}</svg>'
    )


def bin_name(histogram: Histogram, place: int) -> str:
    """The numbers that a bin holds: ``7`` or ``0.85 to 0.9``."""
    if histogram.whole or len(histogram.counts) == 1:
        return number(histogram.low + place)
    width = (histogram.high - histogram.low) / len(histogram.counts)
    low, high = (number(round(histogram.low + width * edge, 10)) for edge in (place, place + 1))
    return f"{low} to {high}"


def _columns(count: int, left: float) -> tuple[list[float], float]:
    """Left edges of columns, the last of which ends at the chart's right edge, and their width."""
    room = _HISTOGRAM_WIDTH - left
    width = min(max(room / count - 1, 1), _WIDEST)
    if count == 1:
        return [_HISTOGRAM_WIDTH - width if left else (room - width) / 2], width
    return [left + place * (room - width) / (count - 1) for place in range(count)], width


def _rect(name: str, x: float, y: float, width: float, height: float, told: str = "") -> str:
    start = f'<rect class="{name}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
    return f"{start}><title>{told}</title></rect>" if told else f"{start}/>"


def _bar(body: str) -> str:
    return (
        '<svg class="bar" viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f"{body}</svg>"
    )
