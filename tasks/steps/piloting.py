"""Pilots: some files of a run first, as a run of their own, and what they say of the whole.

A pilot has a folder, a batch and a job of its own. It is found again when it is done, so that nothing is paid twice;
the run itself then processes all of its files, the pilot's among them.

What is estimated is machine time at the pilot's parallelism: what the run would take if no more machines worked on it
than on the pilot. More of them make it shorter, and no cheaper. The range is not a confidence interval: it lies between
the least and the greatest of three ways to reckon (:func:`estimate`), and says nothing of images that are unlike the
pilot's.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import BadInput, BudgetExceeded, NotFound, damaged
from tasks.core.identity import remote_id
from tasks.core.journal import Journal, read_confirmed
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations
from tasks.core.pilot import PilotOptions
from tasks.core.records import Finished, Piloted, Staged
from tasks.core.run_folder import RunFolder
from tasks.media.manifest import read_manifest
from tasks.results.expectations import Verdict, missed
from tasks.sources.base import MediaObject, ReferenceSource, Source
from tasks.sources.roboql import RoboqlSource
from tasks.steps.context import WAIT, Target
from tasks.steps.filtered import FilteredReferences, FilteredSource
from tasks.steps.reaping import unfinished_folders
from tasks.steps.runs import Runs

STEP, ASKED = "pilot", "asked"
Z = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""
HOUR = 3600.0


def check_pilot(options: PilotOptions, source: Source) -> None:
    """Sees that the pilot, and what is wished of it, can be.

    Raises:
        BadInput: a limit has nothing to be held against, or nobody can choose files of a query.
    """
    if options.max_credits is not None and options.credits_per_machine_hour is None:
        raise BadInput("max_credits needs the rate of your plan: add --budget credits_per_machine_hour=RATE")
    if not options.files and options != PilotOptions():
        raise BadInput("a budget is held against a pilot's estimate: add --pilot N, or leave out --budget")
    if options.files and isinstance(source, RoboqlSource):
        raise BadInput("a pilot cannot be made of a query, whose images nobody but the platform knows: leave out --pilot")


def pilot_target(target: Target, staged: Staged) -> Target | None:
    """The target of a run's pilot, or ``None`` where there is none.

    None is made where none was asked for, where it would be the whole run, and where the run's job is on the platform
    already: a command that was killed goes on where it was.

    Args:
        target: of the run.
        staged: the run.
    """
    count, folder = target.request.pilot.files, RunFolder(staged.folder)
    if not 0 < count < staged.to_send or folder.summary.exists() or _is_launched(target, folder):
        return None
    own: dict[str, Any] = {
        "pilot_of": staged.key,
        "destination": "",
        "datasets": DatasetOptions(),
        "expectations": Expectations(),
        "comparison": ComparisonOptions(),
        "wait": target.request.wait.model_copy(update={"mode": "poll"}),
    }
    source = only(target.source, chosen(folder.manifest, count))
    return replace(target, request=target.request.model_copy(update=own), source=source, destination=None)


def _is_launched(target: Target, folder: RunFolder) -> bool:
    try:
        target.platform.processing.job(remote_id(folder.key))
    except NotFound:
        return False
    return True


def chosen(manifest: Path, count: int) -> frozenset[str]:
    """The keys of so many of a manifest's staged files, drawn by a stable hash: the same ones every time."""
    keys = (row.key for row in read_manifest(manifest, "staged"))
    return frozenset(heapq.nsmallest(count, keys, key=lambda key: hashlib.sha256(key.encode()).digest()))


class ChosenSource(FilteredSource):
    """The objects of a source that have certain keys.

    Args:
        source: the source.
        keys: of the objects that are meant.
    """

    def __init__(self, source: Source, keys: frozenset[str]) -> None:
        super().__init__(source)
        self._keys = keys

    def list(self) -> Iterator[MediaObject]:
        """The objects that are meant, in the source's order."""
        return (item for item in self._source.list() if item.key in self._keys)


class ChosenReferences(ChosenSource, FilteredReferences):
    """The same of a source whose objects a platform can fetch."""


def only(source: Source, keys: frozenset[str]) -> ChosenSource:
    """``source`` with the objects of these keys only."""
    kind = ChosenReferences if isinstance(source, ReferenceSource) else ChosenSource
    return kind(source, keys)


@dataclass(frozen=True)
class Measured:
    """What a finished pilot took.

    Attributes:
        key: of its run.
        files: that were sent.
        failed: of these.
        bytes: of all of them, or ``None`` where a size is not known.
        job_seconds: from the job's creation to its end, by the platform's clock.
        working_seconds: those of them in which work was seen: less the start-up, where it could be told.
        restarted: the job was restarted, so that its seconds hold the pause before.
    """

    key: str
    files: int
    failed: int
    bytes: int | None
    job_seconds: float
    working_seconds: float
    restarted: bool = False

    @property
    def start_up(self) -> float:
        """Seconds of the job in which nothing was worked on yet."""
        return self.job_seconds - self.working_seconds


@dataclass(frozen=True)
class Estimate:
    """The machine time that a run is reckoned to take.

    Attributes:
        files: of the run.
        ways: seconds by each way to reckon.
        rate: credits a machine hour, where it is known.
    """

    files: int
    ways: dict[str, float]
    rate: float | None = None

    @property
    def low(self) -> float:
        """Seconds, by the way that gives least."""
        return min(self.ways.values())

    @property
    def high(self) -> float:
        """Seconds, by the way that gives most."""
        return max(self.ways.values())

    @property
    def credits(self) -> tuple[float, float] | None:
        """Credits, least and most, where the rate is known."""
        return None if self.rate is None else (self.low / HOUR * self.rate, self.high / HOUR * self.rate)


def measure(pilot: RunFolder) -> Measured:
    """What a finished pilot took.

    Raises:
        LocalFault: its folder is damaged.
    """
    summary, entry = pilot.finished(), read_confirmed(pilot.journal, WAIT, "record")
    if summary is None or entry is None:
        raise damaged(pilot.journal)
    finished = Finished.model_validate(entry["record"])
    seen = finished.job_seconds if finished.working_seconds is None else finished.working_seconds
    return Measured(
        key=pilot.key,
        files=summary.processed + summary.failed,
        failed=summary.failed,
        bytes=known_bytes(pilot.manifest),
        job_seconds=finished.job_seconds,
        working_seconds=min(seen, finished.job_seconds),
        restarted=read_confirmed(pilot.journal, "launch", "restart") is not None,
    )


def known_bytes(manifest: Path) -> int | None:
    """The bytes of a manifest's staged files, or ``None`` where the size of one is not known."""
    sizes = pq.read_table(manifest, columns=["size"], filters=[("state", "=", "staged")])["size"]
    return None if sizes.null_count else int(pc.sum(sizes).as_py() or 0)


def estimate(pilot: Measured, files: int, size: int | None, rate: float | None = None) -> Estimate:
    """What a run of so many files is reckoned to take, from what its pilot took.

    With every file the whole of the pilot's job is counted again, start-up and all, which is too much where a start-up
    is the same for few files and for many; or the start-up once, and the work by files; or the start-up once, and the
    work by bytes.

    Args:
        pilot: its measures.
        files: of the run.
        size: of the run's files together, in bytes, or ``None`` where one is not known.
        rate: credits a machine hour.
    """
    share = files / pilot.files
    ways = {
        "by files, start-up included": share * pilot.job_seconds,
        "by files, start-up once": pilot.start_up + share * pilot.working_seconds,
    }
    if size and pilot.bytes:
        ways["by bytes, start-up once"] = pilot.start_up + size / pilot.bytes * pilot.working_seconds
    return Estimate(files, ways, rate)


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score; it is of use for small numbers and for none at all as well."""
    share, square = count / total, Z * Z
    middle = share + square / (2 * total)
    reach = Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    whole = 1 + square / total
    return max(0.0, (middle - reach) / whole), min(1.0, (middle + reach) / whole)


def verdicts(options: PilotOptions, pilot: Measured, reckoned: Estimate) -> tuple[Verdict, ...]:
    """A verdict on each limit that is set; what is at its limit is within it."""
    return tuple(_verdicts(options, pilot, reckoned))


def _verdicts(options: PilotOptions, pilot: Measured, reckoned: Estimate) -> Iterator[Verdict]:
    if (hours := options.max_hours) is not None:
        found = f"{reckoned.low / HOUR:.3g} to {reckoned.high / HOUR:.3g}"
        yield Verdict("machine hours", f"at most {hours:g}", found, reckoned.high <= hours * HOUR)
    if (most := options.max_credits) is not None and reckoned.credits is not None:
        low, high = reckoned.credits
        yield Verdict("credits", f"at most {most:g}", f"{low:.3g} to {high:.3g}", high <= most)
    if (limit := options.max_failure_rate) is not None:
        found = f"{pilot.failed / pilot.files:.3g} ({pilot.failed} of {pilot.files})"
        yield Verdict("failure rate", f"at most {limit:g}", found, pilot.failed / pilot.files <= limit)


def check_budget(key: str, judged: tuple[Verdict, ...]) -> None:
    """Raises where a run would go beyond its budget.

    Raises:
        BudgetExceeded: naming each limit, with what was wanted and what is reckoned.
    """
    if beyond := missed(judged):
        raise BudgetExceeded(
            f"run {key} is stopped after its pilot, beyond its budget: {beyond}; "
            "raise the limit with --budget, or leave out --pilot"
        )


def shown(pilot: Measured, reckoned: Estimate) -> dict[str, str]:
    """What a pilot says, for a table."""
    low, high = wilson(pilot.failed, pilot.files)
    facts = {
        "pilot": f"run {pilot.key}, {pilot.files} of {reckoned.files} files",
        "failed": f"{pilot.failed} of {pilot.files}; of all files {low:.1%} to {high:.1%} (95 % interval)",
        "job": f"{told(pilot.job_seconds)}, {told(pilot.start_up)} of it before the first work was seen",
        "seconds a file": f"{pilot.working_seconds / pilot.files:.3g}",
        "estimate": f"{spread(reckoned)} of machine time for all {reckoned.files} files, at the pilot's parallelism",
    }
    facts |= {way: told(seconds) for way, seconds in reckoned.ways.items()}
    if reckoned.credits is not None:
        facts["credits"] = "{:.3g} to {:.3g}".format(*reckoned.credits)
    if pilot.restarted:
        facts["note"] = "the pilot's job was restarted: the pause before is counted as work"
    return facts


def piloted(target: Target, staged: Staged, pilot: Measured, reckoned: Estimate) -> Piloted:
    """The outcome of a run that ends with its pilot."""
    onwards = target.request.model_copy(update={"pilot": PilotOptions()})
    return Piloted(
        key=pilot.key,
        run=staged.key,
        files=pilot.files,
        failed=pilot.failed,
        of_files=reckoned.files,
        low_seconds=reckoned.low,
        high_seconds=reckoned.high,
        estimate=spread(reckoned),
        credits="" if reckoned.credits is None else "{:.3g} to {:.3g}".format(*reckoned.credits),
        command=onwards.command(),
    )


def spread(reckoned: Estimate) -> str:
    """The range of an estimate, in words."""
    low, high = told(reckoned.low), told(reckoned.high)
    return low if low == high else f"{low} to {high}"


def told(seconds: float) -> str:
    """A time in the unit in which people say it."""
    for unit, name in ((HOUR, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s"


def note_asked(journal: Journal, flow_run: str) -> None:
    """Writes down, with a run, that a flow run has shown its pilot to a person and waits for an answer."""
    journal.confirm(STEP, ASKED, flow_run=flow_run)


def run_asked_by(runs: Runs, flow_run: str) -> str | None:
    """The key of the unfinished run whose pilot a flow run has shown to a person, or ``None``.

    Raises:
        LocalFault: the journal of an unfinished run is damaged.
    """
    for folder in unfinished_folders(runs):
        asked = read_confirmed(folder.journal, STEP, ASKED)
        if asked is not None and asked["flow_run"] == flow_run:
            return folder.key
    return None
