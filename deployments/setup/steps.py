"""What a set-up does, a step for each thing that Prefect keeps: looked at first, and done afterwards or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Deed(StrEnum):
    """What is done with a thing."""

    MAKE = "made"
    UPDATE = "updated"
    KEEP = "kept"
    """It is there as it should be."""
    REMOVE = "removed"
    LEAVE = "left out"
    """Something is missing for it; the note says what."""


def _nothing() -> None:
    """What is done about a thing that is kept or left out."""


@dataclass(frozen=True)
class Step:
    """One thing and what is done with it.

    Attributes:
        kind: such as ``automation``.
        name: the thing's.
        deed: what is done.
        note: what a person should know about it, or nothing.
        act: does it.
    """

    kind: str
    name: str
    deed: Deed
    note: str = ""
    act: Callable[[], Any] = _nothing

    def line(self, *, dry: bool) -> str:
        """What is printed of it."""
        changes = self.deed not in (Deed.KEEP, Deed.LEAVE)
        done = f"would be {self.deed}" if dry and changes else self.deed.value
        return f"{self.kind} {self.name}: {done}{f' ({self.note})' if self.note else ''}"

    def facts(self) -> dict[str, str]:
        """The same for machines."""
        return {"kind": self.kind, "name": self.name, "done": self.deed.value, "note": self.note}
