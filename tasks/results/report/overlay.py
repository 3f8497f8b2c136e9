"""What is drawn over a picture: boxes, outlines and keypoints, and their labels.

Shapes are SVG in the pixels of the image, whose lines are as wide on small pictures as on large ones. Labels are
plain text at a place in percent, so that they can be read at any size of the picture. Both are hidden from screen
readers, which get the same in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.results.report.model import Box, ContactImage
from tasks.results.report.text import safe

LABELLED = 40
"""Most boxes with a label; of more, no label could be read."""
LABELLED_SMALL = 3
"""Likewise on the small pictures of the sheet."""
_LABEL_CHARACTERS = 60


def overlay(image: ContactImage, tones: Mapping[str, int]) -> str:
    """Shapes and labels of an image's boxes, to lie over its picture."""
    if not image.boxes:
        return ""
    shapes = "".join(_shape(box, image, tones.get(box.name, 0)) for box in image.boxes)
    svg = (
        f'<svg class="boxes" viewBox="0 0 {image.width} {image.height}" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false">{shapes}</svg>'
    )
    if len(image.boxes) > LABELLED:
        return svg
    kind = "labels" if len(image.boxes) <= LABELLED_SMALL else "labels large-only"
    labels = "".join(_label(box, image, tones.get(box.name, 0)) for box in image.boxes)
    return f'{svg}<div class="{kind}" aria-hidden="true">{labels}</div>'


def _shape(box: Box, image: ContactImage, tone: int) -> str:
    left, top, right, bottom = _edges(box, image)
    outline = _path(_inside(box.points, image)) if len(box.points) > 2 else ""
    kind = ' class="faint"' if outline else ""
    frame = f'<path{kind} d="M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"/>'
    # A line of no length with round ends is a dot as wide as the line, whatever the picture's size.
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in _inside(box.keypoints, image))
    points = f'<path class="dots" d="{dots}"/>' if dots else ""
    return f'<g class="c{tone}"><title>{safe(box.label)}</title>{frame}{outline}{points}</g>'


def _path(points: Iterable[tuple[float, float]]) -> str:
    return f'<path class="outline" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}Z"/>'


def _label(box: Box, image: ContactImage, tone: int) -> str:
    left, top, right, _ = _edges(box, image)
    x, end = (min(max(edge / image.width * 100, 0.0), 100.0) for edge in (left, right))
    above = top > image.height * 0.1
    y = min(max((top if above else max(top, 0)) / image.height * 100, 0.0), 100.0)
    # It begins at the box's left edge, or ends at its right one where there is more room that way.
    across = f"left:{x:.2f}%;max-width:{100 - x:.2f}%" if x < 55 else f"right:{100 - end:.2f}%;max-width:{end:.2f}%"
    kind = "above" if above else "inside"
    return f'<span class="{kind} c{tone}" style="top:{y:.2f}%;{across}">{safe(box.label, _LABEL_CHARACTERS)}</span>'


def _edges(box: Box, image: ContactImage) -> tuple[float, float, float, float]:
    width, height = max(box.width, 0), max(box.height, 0)
    corners = ((box.x - width / 2, box.y - height / 2), (box.x + width / 2, box.y + height / 2))
    (left, top), (right, bottom) = _inside(corners, image)
    return left, top, right, bottom


def _inside(points: Iterable[tuple[float, float]], image: ContactImage) -> list[tuple[float, float]]:
    """The points, those far outside moved nearer: numbers from elsewhere may be of any size."""
    return [
        (min(max(x, -image.width), 2 * image.width), min(max(y, -image.height), 2 * image.height)) for x, y in points
    ]
