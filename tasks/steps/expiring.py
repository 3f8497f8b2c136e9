"""Finding runs whose job is done and whose results nobody has fetched, before the platform forgets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from tasks.core.errors import DarkroomError, NotFound
from tasks.core.identity import remote_id
from tasks.core.journal import read_confirmed
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import Platform
from tasks.steps.collecting import STEP as EXPORT
from tasks.steps.previous import request_of
from tasks.steps.reaping import Platforms
from tasks.steps.runs import Runs, unfinished_folders


@dataclass(frozen=True)
class Unfetched:
    """An unfinished run with a job that has ended well.

    Attributes:
        key: the run's.
        request: what it was asked to do.
        ends: when the platform forgets what its job has made.
    """

    key: str
    request: RunRequest
    ends: datetime


def find_unfetched(
    runs: Runs, settings: Settings, before: datetime, tell: Callable[[str], None]
) -> tuple[list[Unfetched], list[str]]:
    """The runs to fetch, those that end first in front, and the keys of those that could not be looked at.

    A run that a process of this machine holds is left to it, and so are a pilot, one whose job is under
    way or has failed, and one whose results are here already, as those of a run that has missed an expectation.

    Args:
        runs: the place of all runs.
        settings: of the platforms.
        before: only what the platform forgets before then.
        tell: given what could not be looked at, and why.
    """
    found, failed = [], []
    with ExitStack() as stack:
        platforms = Platforms(settings, stack)
        for folder, request in _asked(runs):
            try:
                platform = platforms.named(request.platform)
                ends = None if platform is None else _end_of_unfetched(platform, folder)
            except DarkroomError as error:
                tell(f"run {folder.key} could not be looked at: {redact(str(error))}")
                failed.append(folder.key)
                continue
            if ends is not None and ends <= before:
                found.append(Unfetched(folder.key, request, ends))
    return sorted(found, key=lambda run: run.ends), failed


def _asked(runs: Runs) -> Iterator[tuple[RunFolder, RunRequest]]:
    for folder in unfinished_folders(runs):
        request = request_of(folder)
        if request is None or request.pilot_of:
            continue
        if runs.mirror is not None or not _is_held(folder):
            yield folder, request


def _is_held(folder: RunFolder) -> bool:
    with folder.free() as free:
        return not free


def _end_of_unfetched(platform: Platform, folder: RunFolder) -> datetime | None:
    """When what a job has made is forgotten that has ended well; ``None`` where there is nothing to fetch any more.

    Raises:
        Transient: the platform does not answer.
        LocalFault: the run's journal is damaged.
    """
    if read_confirmed(folder.journal, EXPORT, "record") is not None:
        return None
    job = platform.processing.find(remote_id(folder.key))
    if job is None or not job.is_terminal or job.error:
        return None
    batches = [batch for stage in platform.processing.stages(job.job_id) for batch in stage.output_batches]
    ends = [end for batch in batches if (end := _end_of(platform, batch)) is not None]
    return min(ends, default=None)


def _end_of(platform: Platform, batch: str) -> datetime | None:
    """When a batch is forgotten; ``None`` where it is already."""
    try:
        return platform.staging.batch(batch).expiry_date
    except NotFound:
        return None
