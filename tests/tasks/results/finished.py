"""Run folders with real tables, as a finished run leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.run_folder import RunFolder
from tasks.results.tables import Failure, build_tables, write_failures
from tests.tasks.core.summaries import summary
from tests.tasks.results.run_on_disk import Entry, Run

KEY = "0123456789abcdef"


def tables(root: Path, results: Mapping[str, dict[str, Any]], failures: Mapping[str, str] | None = None) -> RunFolder:
    """A run folder with results by file, and states of the files without one."""
    root.mkdir(parents=True)
    run = Run(root)
    run.lines({"image": name, **outputs} for name, outputs in results.items())
    build_tables(run.export, [Entry(name, f"key of {name}") for name in results], root)
    folder = RunFolder(root)
    write_failures(
        folder.failures,
        (
            Failure(name, name, "rejected" if state == "rejected" else "failed", "wait", "a reason")
            for name, state in (failures or {}).items()
        ),
    )
    return folder


def finished(root: Path, results: Mapping[str, dict[str, Any]], **changes: Any) -> RunFolder:
    """The same with a summary."""
    folder = tables(root, results)
    folder.finish(summary(folder.key, folder=root, **changes))
    return folder
