"""Small charts as inline SVG; each has its numbers in text beside it, so that none is needed to read the report."""

from __future__ import annotations

from tasks.results.report_model import ContactImage, Counts, Histogram, StepTime
from tasks.results.report_text import safe

_HISTOGRAM_HEIGHT = 56
_HISTOGRAM_WIDTH = 240


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
        pieces.append(
            f'<rect class="{name}" x="{left + gap:.1f}" y="0" width="{max(width - gap, 1):.1f}" height="20"/>'
        )
        left += width
    return _svg("bar", 1000, 20, "".join(pieces), stretch=True)


def step_bar(steps: tuple[StepTime, ...], place: int) -> str:
    """One step on the time line of all."""
    total = sum(step.seconds for step in steps) or 1.0
    start = sum(step.seconds for step in steps[:place]) / total * 1000
    width = max(steps[place].seconds / total * 1000, 3)
    pieces = (
        '<rect class="track" x="0" y="9" width="1000" height="2"/>'
        f'<rect class="fill" x="{min(start, 997):.1f}" y="3" width="{width:.1f}" height="14"/>'
    )
    return _svg("bar", 1000, 20, pieces, stretch=True)


def share_bar(value: float, largest: float) -> str:
    """``value`` as a part of ``largest``."""
    width = max(value / largest * 1000, 3) if largest else 0
    return _svg("bar", 1000, 20, f'<rect class="fill" x="0" y="3" width="{width:.1f}" height="14"/>', stretch=True)


def histogram_chart(histogram: Histogram) -> str:
    """Bins as columns."""
    tallest = max(histogram.counts) or 1
    step = _HISTOGRAM_WIDTH / len(histogram.counts)
    columns = []
    for place, count in enumerate(histogram.counts):
        if count:
            height = max(count / tallest * _HISTOGRAM_HEIGHT, 1.5)
            columns.append(
                f'<rect class="fill" x="{place * step:.2f}" y="{_HISTOGRAM_HEIGHT - height:.2f}"'
                f' width="{max(step - 1, 1):.2f}" height="{height:.2f}"/>'
            )
    ground = f'<rect class="track" x="0" y="{_HISTOGRAM_HEIGHT}" width="{_HISTOGRAM_WIDTH}" height="1"/>'
    return _svg("histogram", _HISTOGRAM_WIDTH, _HISTOGRAM_HEIGHT + 1, ground + "".join(columns), stretch=True)


def box_overlay(image: ContactImage) -> str:
    """Boxes with their labels, to lie over a picture of the image."""
    # Measured in the picture's own pixels, so that lines and letters look alike on small and large images.
    unit = max(image.width, image.height) / 320
    pieces = []
    for box in image.boxes:
        left, top = box.x - box.width / 2, box.y - box.height / 2
        pieces.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(box.width, 0):.1f}"'
            f' height="{max(box.height, 0):.1f}" rx="{unit:.1f}"/>'
        )
        if box.label:
            # Above the box where there is room, else just inside it.
            base = top - 4 * unit if top > 14 * unit else top + 12 * unit
            left = min(max(left, 0), image.width) + (0 if top > 14 * unit else 4 * unit)
            pieces.append(
                f'<text x="{left:.1f}" y="{base:.1f}" font-size="{11 * unit:.1f}"'
                f' stroke-width="{3 * unit:.1f}">{safe(box.label)}</text>'
            )
    body = f'<g stroke-width="{2 * unit:.2f}">{"".join(pieces)}</g>'
    return _svg("boxes", image.width, image.height, body)


def _svg(name: str, width: float, height: float, body: str, *, stretch: bool = False) -> str:
    ratio = ' preserveAspectRatio="none"' if stretch else ""
    return (
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}"{ratio} aria-hidden="true" focusable="false">'
        f"{body}</svg>"
    )
