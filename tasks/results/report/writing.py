"""``report.html``: one self-contained page about a run, for people."""

from __future__ import annotations

from pathlib import Path

from tasks.core.files import write_text
from tasks.results.report.model import Report
from tasks.results.report.page import render


def write_report(path: Path, report: Report) -> None:
    """Writes the page, which needs nothing but a browser; it appears whole or not at all."""
    write_text(path, render(report))
