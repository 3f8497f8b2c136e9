"""Holding a staged run: its lock against other processes, and its journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.core.journal import Journal
from tasks.core.progress import Silent
from tasks.core.records import Staged
from tasks.core.run_folder import RunFolder
from tasks.steps.conclude import kept
from tasks.steps.context import Run, Target


@contextmanager
def hold(
    target: Target, staged: Staged, tell: Callable[[str], None], begun: float | None = None, *, resumed: bool = False
) -> Iterator[Run]:
    """A staged run with its journal, held against other processes for as long as the block lasts.

    Args:
        target: where it goes.
        staged: what staging has left.
        tell: given warnings for the person who started it.
        begun: when this process began with it, on the monotonic clock; now, where it is not said.
        resumed: whether the flow run goes on where it suspended itself.
    """
    folder = RunFolder(staged.folder)

    def waiting() -> None:
        tell(f"run {staged.key} is under way in another process: waiting for it")

    with folder.held(waiting), Journal(folder.journal) as journal:
        since = time.monotonic() if begun is None else begun
        yield kept(Run(target, folder, journal, Silent(), tell=tell, resumed=resumed, begun=since))
