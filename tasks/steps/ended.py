"""Opening a run whose job has ended: what is left to do of it needs neither its source nor its workflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO

from tasks.core.errors import BadInput
from tasks.core.records import Staged
from tasks.core.redaction import redact
from tasks.core.request import RunRequest
from tasks.core.run_folder import RunFolder, read_lock
from tasks.core.settings import Settings
from tasks.roboflow_api.platform import open_platform
from tasks.roboflow_api.workflows import Workflow
from tasks.sources.base import MediaObject, Source, SourceChanged
from tasks.sources.registry import open_source
from tasks.steps.context import Target
from tasks.steps.runs import Runs
from tasks.steps.stage import load_staged
from tasks.transfer.places import open_place


class AbsentSource:
    """A source that cannot be named any more, such as a variable of another process; it holds nothing.

    Args:
        url: how it was named, without secrets.
    """

    is_local = False
    by_extension = True

    def __init__(self, url: str) -> None:
        self.url = url

    def check(self) -> None:
        """Raises like :meth:`list`."""
        raise BadInput(f"{self.url} cannot be opened here")

    def list(self) -> Iterator[MediaObject]:
        """Nothing can be listed."""
        raise BadInput(f"{self.url} cannot be opened here")

    def open(self, item: MediaObject, offset: int = 0) -> BinaryIO:  # noqa: ARG002 - as of every source
        """Nothing can be opened."""
        raise SourceChanged(f"{self.url} cannot be opened here")


@contextmanager
def open_ended(request: RunRequest, key: str, runs: Runs, settings: Settings) -> Iterator[tuple[Target, Staged]]:
    """The target of a run whose job has ended, and what staging has left of it.

    Its source is not looked into, and its workflow is the one that it was begun with, whatever has become of both.

    Args:
        request: what the run was asked to do.
        key: the run's.
        runs: where it was found.
        settings: of the platform.

    Raises:
        BadInput: the platform or the destination cannot be used.
        LocalFault: the run's lock is damaged.
    """
    folder = RunFolder(runs.folder / key)
    if runs.mirror is not None:
        runs.mirror.pull(folder)
    lock = read_lock(folder)
    with open_platform(request.platform, settings) as platform:
        target = Target(
            request=request,
            platform=platform,
            workflow=Workflow(lock["identity"]["workflow_id"], None, lock["identity"]["workflow_digest"]),
            source=_source(request.source),
            runs=runs,
            destination=open_place(request.destination) if request.destination else None,
            asked=datetime.fromisoformat(lock["started"]),
        )
        yield target, load_staged(folder)


def _source(url: str) -> Source:
    try:
        return open_source(url)
    except BadInput:
        return AbsentSource(redact(url))
