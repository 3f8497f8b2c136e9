"""Boxes and outlines in pixels of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
CORNERS = 3
"""Points that an outline has at least."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box by its edges, in pixels from the upper left corner of the image; ``right`` may be left of ``left``."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels."""
        return self.bottom - self.top

    @property
    def corners(self) -> tuple[Point, ...]:
        """Its outline, clockwise from the upper left."""
        return (
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        )

    def clipped(self, width: int, height: int) -> Box | None:
        """The part inside an image of that size; ``None`` where nothing of the box lies in it."""
        left, right = _within(self.left, width), _within(self.right, width)
        top, bottom = _within(self.top, height), _within(self.bottom, height)
        if _vanished(self.width, right - left) or _vanished(self.height, bottom - top):
            return None
        # A point or a line beside the image would otherwise be moved to its edge.
        if (self.width == 0 and left != self.left) or (self.height == 0 and top != self.top):
            return None
        return Box(left, top, right, bottom)


def around(outline: Iterable[Point]) -> Box:
    """The box around an outline of one point or more."""
    xs, ys = zip(*outline, strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))


def clip_outline(outline: Sequence[Point], width: int, height: int) -> tuple[Point, ...]:
    """Every point moved to the nearest one of the image; empty where no part of the outline lies in the image."""
    if not outline or around(outline).clipped(width, height) is None:
        return ()
    return tuple((_within(x, width), _within(y, height)) for x, y in outline)


def area(outline: Sequence[Point]) -> float:
    """Square pixels inside a closed outline that does not cross itself."""
    following = (*outline[1:], *outline[:1])
    return abs(sum(x * below - right * y for (x, y), (right, below) in zip(outline, following, strict=True))) / 2


def _within(value: float, limit: int) -> float:
    return min(max(value, 0.0), float(limit))


def _vanished(before: float, after: float) -> bool:
    return before > 0 and after <= 0
