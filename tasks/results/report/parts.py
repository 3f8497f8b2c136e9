"""Pieces of HTML that the report's sections have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.results.report.text import safe

LONG_NAME = 200
"""Characters of a name that are shown."""
TONES = 10
"""Colours for classes; the eleventh class has the first one's again."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    kind: str = ""
    """``number`` for figures, ``wide`` for bars, which small screens do without."""
    unseen: bool = False
    """The title is for screen readers only."""


@dataclass(frozen=True)
class Section:
    """A part of the page with its heading; all but the name is HTML."""

    name: str
    """Its id in the page."""
    title: str
    about: str
    """One sentence under the title."""
    body: str
    kind: str = ""
    """A class for the style sheet."""

    def html(self) -> str:
        """The whole section."""
        mark = f' class="{self.kind}"' if self.kind else ""
        return (
            f'<section aria-labelledby="{self.name}"{mark}>\n<h2 id="{self.name}">{self.title}</h2>\n'
            f'<p class="about">{self.about}</p>\n{self.body}\n</section>'
        )


def table(kind: str, caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first cell of a row names it; cells are HTML."""
    heads = "".join(f'<th scope="col"{_class(column)}>{_title(column)}</th>' for column in columns)
    body = "".join(f"<tr>{_cells(columns, row)}</tr>" for row in rows)
    return (
        f'<table class="{kind}"><caption>{caption}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def swatch(tone: int) -> str:
    """A small square in a class's colour, which is named beside it."""
    return f'<i class="swatch c{tone}"></i>'


def named(name: str) -> str:
    """A name from elsewhere, cut where it is very long."""
    return safe(name, LONG_NAME)


def _cells(columns: Sequence[Column], row: Sequence[str]) -> str:
    (first, *others), (head, *rest) = columns, row
    cells = "".join(f"<td{_class(column)}>{cell}</td>" for column, cell in zip(others, rest, strict=True))
    return f'<th scope="row"{_class(first)}>{head}</th>{cells}'


def _class(column: Column) -> str:
    return f' class="{column.kind}"' if column.kind else ""


def _title(column: Column) -> str:
    return f'<span class="unseen">{column.title}</span>' if column.unseen else column.title
