"""Whether what was sent has arrived: the platform is asked until every file is in the batch or refused."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.errors import NotFound, RunIncomplete
from tasks.media.manifest import read_manifest
from tasks.roboflow_api.models import ShardDetails
from tasks.roboflow_api.platform import Platform
from tasks.roboflow_api.polling import poll_until
from tasks.steps.context import INGEST, Run, gone

DEADLINE = 6 * 3600.0
QUIET_SETTLES = 20
"""A batch that lacks files is given up when for so many times the platform's settling time nothing has moved in it."""
NEVER_FETCHED = "the platform has not fetched it, and does not say why: it may be gone, or its URL not readable"


@dataclass(frozen=True)
class BatchState:
    """What the platform says of the batch.

    Attributes:
        count: files that are in.
        refused: files that it would not take, as pairs of name and reason.
        indexing: shards that it is still working on.
        broken: why shards failed as a whole.
        exists: there is such a batch.
    """

    count: int
    refused: tuple[tuple[str, str], ...] = ()
    indexing: int = 0
    broken: tuple[str, ...] = ()
    exists: bool = True


class Quiet:
    """How long a batch has not moved though nothing is being indexed.

    Time in which the platform could not be asked counts for one pause at most.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._last: BatchState | None = None
        self._looked = 0.0
        self._seconds = 0.0

    def seconds(self, seen: BatchState) -> float:
        """Takes one more look into account; gives the seconds of quiet up to it."""
        now = self._run.timing.clock()
        if seen != self._last or seen.indexing:
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._looked, self._run.platform.pace.longest)
        self._last, self._looked = seen, now
        return self._seconds


def arrived(run: Run) -> frozenset[str]:
    """The names that the platform took or refused, once what was under way at an earlier process's end has shown up."""
    run.timing.sleep(run.platform.settle)
    settled = poll_until(
        lambda: look(run),
        lambda state: not state.indexing,
        deadline=DEADLINE,
        pace=run.platform.pace,
        timing=run.timing,
    )
    if settled is None or not settled.exists:
        return frozenset()
    refused = frozenset(name for name, _reason in settled.refused)
    return refused | _present(run)


def watch(run: Run, expected: int, *, by_reference: bool, shards: frozenset[str] | None = None) -> dict[str, str]:
    """Waits until ``expected`` files are in or refused; gives the refused ones with their reasons.

    Args:
        run: the run.
        expected: files that were sent.
        by_reference: the platform fetches the files itself; those that never come could not be fetched. Where they were
            uploaded, the platform has lost them.
        shards: the only shards whose word counts; others are of earlier attempts. ``None``: all of them.

    Raises:
        RunIncomplete: files are missing when the deadline has passed, or the platform has lost some.
    """
    patient = run.timing.clock() + run.platform.settle
    quiet = Quiet(run)
    deadline = max(DEADLINE, run.target.url_hours * 3600) if by_reference else DEADLINE
    silent, shown = False, 0

    def show_fetched(seen: BatchState) -> None:
        nonlocal shown
        run.progress.advance(INGEST, seen.count - shown, expected)
        shown = seen.count

    def ended(seen: BatchState) -> bool:
        nonlocal silent
        if not seen.exists and run.timing.clock() > patient:
            raise gone(run, "batch")
        if seen.count + len(seen.refused) >= expected or (seen.broken and not seen.indexing):
            return True
        silent = quiet.seconds(seen) > QUIET_SETTLES * run.platform.settle
        if silent and not by_reference:
            raise _lost(run, seen.count, expected)
        return silent

    state = poll_until(
        lambda: look(run, expected, shards),
        ended,
        deadline=deadline,
        pace=run.platform.pace,
        timing=run.timing,
        on_change=show_fetched if by_reference else lambda _seen: None,
    )
    if state is None:
        count = run.platform.staging.count(run.remote_id)
        raise RunIncomplete(f"batch {run.remote_id} holds {count} of {expected} files after {deadline / 3600:.0f} h")
    refused = dict(state.refused)
    if state.broken or silent:
        reason = f"its shard could not be ingested: {state.broken[0]}" if state.broken else NEVER_FETCHED
        present = _present(run)
        missing = (row.name for row in read_manifest(run.folder.manifest, "staged") if row.name not in present)
        refused = dict.fromkeys(missing, reason) | refused
    return refused


def _lost(run: Run, count: int, expected: int) -> RunIncomplete:
    return RunIncomplete(
        f"batch {run.remote_id} holds {count} of {expected} files and gets no more, though all were sent: "
        f"{run.platform.name} has lost some; pass --rerun LABEL to do the work afresh"
    )


def _present(run: Run) -> frozenset[str]:
    return frozenset(file.file_name for file in run.platform.staging.files(run.remote_id))


def has_settled(platform: Platform, batch: str, expected: int) -> bool:
    """Whether a batch has every file that was sent, or gets no more.

    Args:
        platform: where the batch is.
        batch: its id.
        expected: files that were sent.

    Raises:
        Transient: the platform does not answer.
    """
    state = _look(platform, batch, expected)
    through = state.count + len(state.refused)
    return through >= expected or (not state.indexing and (through > 0 or bool(state.broken)))


def look(run: Run, expected: int | None = None, only: frozenset[str] | None = None) -> BatchState:
    """The batch as it is; its shards, all or ``only`` some, are asked for where the count leaves something open."""
    return _look(run.platform, run.remote_id, expected, only)


def _look(platform: Platform, batch: str, expected: int | None, only: frozenset[str] | None = None) -> BatchState:
    staging = platform.staging
    try:
        count = staging.count(batch)
        if expected is not None and count >= expected:
            return BatchState(count)
        shards = [shard for shard in staging.shards(batch) if only is None or shard.shard_id in only]
    except NotFound:
        return BatchState(0, exists=False)
    kinds = [shard.status_type.lower() for shard in shards]
    return BatchState(
        count=count,
        refused=tuple(sorted({pair for shard in shards for pair in _refusals(shard)})),
        indexing=sum("error" not in kind and "success" not in kind for kind in kinds),
        broken=tuple(_why_broken(shard) for shard, kind in zip(shards, kinds, strict=True) if "error" in kind),
    )


def _refusals(shard: ShardDetails) -> list[tuple[str, str]]:
    """Names and reasons; a second copy of a file that is in already is no refusal."""
    return [
        (str(file["file_name"]), str(file.get("reason", "refused")))
        for file in (shard.status_metadata or {}).get("failedFiles", ())
        if file.get("type") != "duplicate-file-name"
    ]


def _why_broken(shard: ShardDetails) -> str:
    said = (shard.status_metadata or {}).get("error")
    return str(said) if said else shard.status_name
