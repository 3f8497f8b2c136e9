"""What a person sees of a step in Prefect: a table, a progress bar while it works, a link to its parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from tasks.core.progress import Counting, Fanout, ambient
from tasks.steps.context import Run

MOST_ROWS = 1000
"""Prefect's list page loads all data of all tables; what is longer is linked, not shown."""


class ProgressBar:
    """A progress artifact of the step, made when there is something to show."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._id: UUID | None = None

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Shows how far it is; without a total there is nothing to draw."""
        if not total:
            return
        percent = min(100.0, 100.0 * done / total)
        if self._id is None:
            made = create_progress_artifact(percent, key=f"{self._step}-progress", description=f"{name}: {total}")
            self._id = UUID(str(made))
        else:
            update_progress_artifact(self._id, percent)


def shown_progress(step: str) -> Fanout:
    """Progress that goes to the terminal, where there is one, and to an artifact at most once a second."""
    return Fanout(ambient(), Counting(ProgressBar(step)))


def watched(run: Run, step: str) -> Run:
    """The run with its progress, its warnings and its news shown as those of ``step``."""
    logger = get_run_logger()
    return replace(
        run,
        progress=shown_progress(step),
        tell=lambda text: logger.warning("%s: %s", step, text),
        say=lambda text: logger.info("%s: %s", step, text),
    )


def show_table(step: str, facts: Mapping[str, Any], description: str) -> None:
    """A step's facts, a row each."""
    show_rows(step, [{"what": name, "value": str(value)} for name, value in facts.items()], description)


def show_rows(key: str, rows: Sequence[Mapping[str, str]], description: str) -> None:
    """A table, of which the first :data:`MOST_ROWS` rows are shown."""
    create_table_artifact([dict(row) for row in rows[:MOST_ROWS]], key=key, description=description)


def show_link(step: str, file: Path) -> None:
    """A link to a file of the run folder."""
    create_link_artifact(
        file.absolute().as_uri(), link_text=file.name, key=f"{step}-file", description=f"`{file}` on the flow's machine"
    )


def show_markdown(key: str, text: str, description: str) -> None:
    """A piece of markdown."""
    create_markdown_artifact(text, key=key, description=description)
