"""Finding another run and its tables, wherever runs lie: the one of a key, or the last one that asked for the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.core.errors import BadInput, LocalFault
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, find_run, list_runs, read_lock
from tasks.results.facts import check_tables
from tasks.steps.incremental import place_named
from tasks.steps.mirror import bring_export, is_whole
from tasks.steps.runs import Runs, outlined_runs
from tasks.transfer.places import get_all

SAME = frozenset({"workflow", "platform", "parameters", "options", "only_new", "export", "replays", "pilot_of"})
"""What a request and its predecessor have in common, besides the source."""


@contextmanager
def open_run(runs: Runs, key: str, named: str, *, whole: bool = False) -> Iterator[RunFolder]:
    """The folder of a run with its lock and, as far as it has them, its summary and tables.

    What lies in a bucket only is in a folder that goes away at the end.

    Args:
        runs: the place of all runs.
        key: the run's key, or its first digits.
        named: how the user names that place.
        whole: whether the exported files are needed as well.

    Raises:
        BadInput: no run, or more than one, has such a key.
    """
    with outlined_runs(runs, key) as place:
        yield _with_tables(runs, find_run(place, key, named), whole=whole)


@contextmanager
def find_previous(runs: Runs, request: RunRequest, key: str) -> Iterator[RunFolder | None]:
    """The run before: the latest finished one that was asked for in the same words, with its tables.

    Labels, destinations, limits and the like do not count, nor do runs that are damaged or of another version. Runs
    stand in the order in which they were begun, which a later export or judgement does not change.

    Args:
        runs: the place of all runs.
        request: what is asked for.
        key: of the run itself.
    """
    own = RunFolder(runs.folder / key)
    begun = datetime.fromisoformat(read_lock(own)["started"]) if own.lock_file.exists() else None
    with outlined_runs(runs) as place:
        brought = (_with_tables(runs, folder, whole=False) for folder in _latest_first(place, request, key, begun))
        yield next(filter(_is_readable, brought), None)


def request_of(folder: RunFolder) -> RunRequest | None:
    """What a run was asked to do, or ``None`` where its lock does not tell."""
    try:
        return RunRequest.model_validate(read_lock(folder).get("request"))
    except (LocalFault, ValidationError, FileNotFoundError):
        return None


def _latest_first(place: Path, request: RunRequest, key: str, begun: datetime | None) -> list[RunFolder]:
    wanted = _essence(request)
    times: dict[RunFolder, datetime] = {}
    for folder in list_runs(place):
        asked = request_of(folder)
        if folder.key == key or asked is None or _essence(asked) != wanted:
            continue
        started = _started(folder)
        if started is not None and (begun is None or started < begun):
            times[folder] = started
    return sorted(times, key=lambda folder: times[folder], reverse=True)


def _essence(request: RunRequest) -> dict[str, Any]:
    """What makes two requests ask for the same, of media that may have changed."""
    return {"source": place_named(request.source)} | request.model_dump(mode="json", include=set(SAME))


def _started(folder: RunFolder) -> datetime | None:
    """When a finished run was begun; ``None`` for one that is not finished or damaged."""
    try:
        summary = folder.finished()
    except LocalFault:
        return None
    return None if summary is None else summary.started


def _is_readable(folder: RunFolder) -> bool:
    try:
        check_tables(folder)
    except (BadInput, LocalFault):
        return False
    return True


def _with_tables(runs: Runs, found: RunFolder, *, whole: bool) -> RunFolder:
    """The run's folder with its tables: where the run is finished on this machine, its own one."""
    if runs.mirror is None:
        return found
    here = RunFolder(runs.folder / found.key)
    if here.summary.exists() and (is_whole(here) or not whole):
        return here
    place = runs.place.sub(found.key)
    for _ in get_all(place, found.root, (file.name for file in (found.results, found.predictions, found.failures))):
        pass
    if whole:
        bring_export(place, found)
    return found
