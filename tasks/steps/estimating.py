"""What a finished pilot says of the whole run: time, credits and failures, and whether a budget holds them.

What is estimated is machine time at the pilot's parallelism: what the run would take if no more machines worked on it
than on the pilot. More of them make it shorter, and no cheaper. The range is not a confidence interval: it lies between
the least and the greatest of three ways to reckon (:func:`estimate`), and says nothing of images that are unlike the
pilot's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import BudgetExceeded, damaged
from tasks.core.journal import read_confirmed
from tasks.core.pilot import PilotOptions
from tasks.core.records import Finished, Piloted, Staged
from tasks.core.run_folder import RunFolder
from tasks.results.expectations import Verdict, missed
from tasks.steps.context import WAIT, Target

Z = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""
HOUR = 3600.0
Range = tuple[float, float]
"""The least and the most."""


@dataclass(frozen=True)
class Measured:
    """What a finished pilot took.

    Attributes:
        key: of its run.
        files: that were sent.
        failed: of these.
        bytes: of all of them, or ``None`` where a size is not known.
        job_seconds: from the job's creation to its end, by the platform's clock.
        start_up: those of them before the first work: the least and the most, as it was not looked at all the time.
        restarted: the job was restarted, so that its seconds hold the pause before.
    """

    key: str
    files: int
    failed: int
    bytes: int | None
    job_seconds: float
    start_up: tuple[float, float] = (0.0, 0.0)
    restarted: bool = False

    @property
    def seconds_a_file(self) -> Range:
        """Seconds of the job that went into each file, start-up left out."""
        least, most = self.start_up
        return (self.job_seconds - most) / self.files, (self.job_seconds - least) / self.files


@dataclass(frozen=True)
class Estimate:
    """The machine time that a run is reckoned to take.

    Attributes:
        files: of the run.
        ways: least and most seconds by each way to reckon.
        rate: credits a machine hour, where it is known.
    """

    files: int
    ways: dict[str, Range]
    rate: float | None = None

    @property
    def low(self) -> float:
        """Seconds, by the way that gives least."""
        return min(least for least, _most in self.ways.values())

    @property
    def high(self) -> float:
        """Seconds, by the way that gives most."""
        return max(most for _least, most in self.ways.values())

    @property
    def credits(self) -> Range | None:
        """Credits, least and most, where the rate is known."""
        return None if self.rate is None else (self.low / HOUR * self.rate, self.high / HOUR * self.rate)

    def told(self) -> str:
        """The range of seconds, in words."""
        return _times((self.low, self.high))


def measure(pilot: RunFolder) -> Measured:
    """What a finished pilot took.

    Raises:
        LocalFault: its folder is damaged.
    """
    summary, entry = pilot.finished(), read_confirmed(pilot.journal, WAIT, "record")
    if summary is None or entry is None:
        raise damaged(pilot.journal)
    finished = Finished.model_validate(entry["record"])
    least, most = finished.start_up
    return Measured(
        key=pilot.key,
        files=summary.processed + summary.failed,
        failed=summary.failed,
        bytes=known_bytes(pilot.manifest),
        job_seconds=finished.job_seconds,
        start_up=(min(least, finished.job_seconds), min(most, finished.job_seconds)),
        restarted=read_confirmed(pilot.journal, "launch", "restart") is not None,
    )


def known_bytes(manifest: Path) -> int | None:
    """The bytes of a manifest's staged files, or ``None`` where the size of one is not known."""
    sizes = pq.read_table(manifest, columns=["size"], filters=[("state", "=", "staged")])["size"]
    return None if sizes.null_count else int(pc.sum(sizes).as_py() or 0)


def estimate(pilot: Measured, files: int, size: int | None, rate: float | None = None) -> Estimate:
    """What a run of so many files is reckoned to take, from what its pilot took.

    In one way each file is counted with its share of the pilot's whole job, which is too much where a start-up is the
    same for few files and for many; in the others the start-up is counted once, and the work by files or by bytes.

    Args:
        pilot: its measures.
        files: of the run.
        size: of the run's files together, in bytes, or ``None`` where one is not known.
        rate: credits a machine hour.
    """
    share = files / pilot.files
    whole = share * pilot.job_seconds
    ways = {"by files, start-up included": (whole, whole), "by files, start-up once": _once(pilot, share)}
    if size and pilot.bytes:
        ways["by bytes, start-up once"] = _once(pilot, size / pilot.bytes)
    return Estimate(files, ways, rate)


def _once(pilot: Measured, times: float) -> Range:
    """Seconds for so many times the pilot's work after one start-up."""
    early, late = (start_up + times * (pilot.job_seconds - start_up) for start_up in pilot.start_up)
    return min(early, late), max(early, late)


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
        found = _numbers((reckoned.low / HOUR, reckoned.high / HOUR))
        yield Verdict("machine hours", f"at most {hours:g}", found, reckoned.high <= hours * HOUR)
    if (most := options.max_credits) is not None and reckoned.credits is not None:
        found = _numbers(reckoned.credits)
        yield Verdict("credits", f"at most {most:g}", found, reckoned.credits[1] <= most)
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
        "job": f"{_time(pilot.job_seconds)}, {_times(pilot.start_up)} of it before the first work",
        "seconds a file": _numbers(pilot.seconds_a_file),
        "estimate": f"{reckoned.told()} of machine time for all {reckoned.files} files, at the pilot's parallelism",
    }
    facts |= {way: _times(seconds) for way, seconds in reckoned.ways.items()}
    if reckoned.credits is not None:
        facts["credits"] = _numbers(reckoned.credits)
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
        estimate=reckoned.told(),
        credits="" if reckoned.credits is None else _numbers(reckoned.credits),
        command=onwards.command(),
    )


def _times(seconds: Range) -> str:
    return _range(*map(_time, seconds))


def _numbers(values: Range) -> str:
    return _range(*(f"{value:.3g}" for value in values))


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _time(seconds: float) -> str:
    """A time in the unit in which people say it."""
    for unit, name in ((HOUR, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s"
