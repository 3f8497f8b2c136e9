"""The small records that steps hand on: counts, paths, seconds and ids, never bulk data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Base of the records; frozen, a few hundred bytes each."""

    model_config = ConfigDict(frozen=True)


class Staged(Record):
    """What staging found and where the run lies."""

    key: str
    folder: Path
    files: int
    """Files of the wanted media kind, rejected ones included."""
    rejected: int
    ignored: int
    """Files that are not of the wanted kind by their extension; not part of the run."""
    bytes: int
    """Sum of the sizes of the files to send, as far as they are known."""
    seconds: float

    @property
    def to_send(self) -> int:
        """Files that go on to ingest."""
        return self.files - self.rejected


class Surveyed(Record):
    """What a look at a source found."""

    source: str
    manifest: Path
    files: int
    """Files of the wanted media kind, rejected ones included."""
    rejected: int
    ignored: int
    """Files that are not of the wanted kind by their extension."""
    bytes: int
    """Sum of the sizes of the files that can be processed, as far as they are known."""
    reasons: dict[str, int]
    """Rejected files by reason, the most common first."""
    references: int
    """Signed references written."""
    seconds: float


class NothingNew(Record):
    """Outcome of an incremental run that found nothing to do."""

    source: str
    known: int
    """Files that are there and were processed before."""
    rejected: int = 0
    """New files that cannot be processed."""

    def line(self) -> str:
        """The last line that the command line prints."""
        rejected = f"; {self.rejected} new ones cannot be processed" if self.rejected else ""
        return f"nothing new in {self.source}: its {self.known} files were processed before{rejected}"


class Ingested(Record):
    """What the platform has taken."""

    batch_id: str
    sent: int
    """Files in the batch, counted by the platform."""
    failed: int
    """Files that changed while they were sent or that the platform refused."""
    by_reference: bool
    """The platform fetched the files itself."""
    parts: int
    """Tar shards or chunks of references sent; 0 where files went up one by one."""
    bytes: int
    seconds: float


class Launched(Record):
    """The job that works on the batch."""

    job_id: str
    attached: bool
    """The job was there already."""
    restarted: bool = False
    """It had failed or was aborted, and goes on."""
    seconds: float


class StageOutput(Record):
    """What a stage of the job has made."""

    id: str
    name: str
    batch: str
    """Its output batch; empty where it has none."""


class Finished(Record):
    """How the job ended."""

    job_id: str
    tasks: int
    export_batch: str
    """The batch that users take."""
    outputs: tuple[StageOutput, ...]
    """Every stage and its output batch."""
    failures: int
    """Images that the job's logs report as failed."""
    seconds: float
    """Seconds waited."""
    job_seconds: float
    """Seconds from the job's creation to its last update, by the platform's clock."""
    start_up: tuple[float, float] = (0.0, 0.0)
    """Seconds of the wait until work began: by the last look that saw none of it, and by the first that saw some."""


class Exported(Record):
    """What came back."""

    batch: str
    """The batch that was exported."""
    files: int
    """Files fetched: aggregated results and archives."""
    bytes: int
    refused: int
    """Archive members that were left out as unsafe."""
    refused_files: int
    """Listed files, archives and parts that were left out as a whole: unsafe names, archives beyond all limits."""
    rows: int
    """Images with a result."""
    predictions: int
    """Detections, of all outputs together."""
    duplicates: int
    """Second results for one file; the first is kept."""
    unknown: int
    """Results for files that are not in the run, or that changed while they were ingested; left out."""
    unreadable: int
    """Results that cannot be read; left out."""
    seconds: float


@dataclass(frozen=True)
class StepRecords:
    """What the steps before the last have left."""

    staged: Staged
    ingested: Ingested
    launched: Launched
    finished: Finished
    exported: Exported


class RunSummary(Record):
    """The run as a whole; the one row of ``summary.parquet``, whose presence means done."""

    key: str
    source: str
    workflow: str
    workflow_digest: str | None
    platform: str
    workspace: str
    batch_id: str
    job_id: str
    files: int
    processed: int
    failed: int
    rejected: int
    predictions: int
    bytes: int
    started: datetime
    finished: datetime
    seconds: float
    stage_seconds: float
    ingest_seconds: float
    launch_seconds: float
    wait_seconds: float
    export_seconds: float
    summarize_seconds: float
    folder: Path = Field(description="The run folder on this machine.")
    place: str = Field(default="", description="The run folder in a bucket, where runs lie in one.")
    published: str = Field(default="", description="Where the results were published to.")
    datasets: tuple[str, ...] = Field(default=(), description="Folders or archives of the datasets asked for.")

    @property
    def report(self) -> Path:
        """The HTML report on this machine."""
        return self.folder / "report.html"

    def line(self) -> str:
        """The last line that the command line prints."""
        where = f"{self.place}/{self.report.name}" if self.place else self.report
        counts = f"{self.processed} processed, {self.failed} failed, {self.rejected} rejected"
        return f"run {self.key}: {counts}, {self.seconds:.1f} s -> {where}"


class Piloted(Record):
    """Outcome of a run that ends with its pilot, as nobody has said how much the whole may take."""

    key: str
    """Of the pilot's own run."""
    run: str
    """Key of the run itself, which is staged."""
    files: int
    """Files of the pilot."""
    failed: int
    of_files: int
    """Files of the run."""
    low_seconds: float
    """Least machine time that the run is reckoned to take, at the pilot's parallelism."""
    high_seconds: float
    estimate: str
    """The same in words."""
    credits: str
    """What that costs; empty where no rate was given."""
    command: str
    """What goes on with the run without a budget."""

    def line(self) -> str:
        """The last line that the command line prints."""
        done = f"pilot {self.key} of run {self.run}: {self.files} of {self.of_files} files, {self.failed} failed"
        cost = f"{self.estimate} of machine time{f', {self.credits} credits' if self.credits else ''}"
        return f"{done}; all take {cost}: add --budget max_hours=HOURS, or leave out --pilot, to go on"


class Reaped(Record):
    """What a look after the unfinished runs has done; runs are named by their keys."""

    looked: int
    """Unfinished runs that a flow run has worked on."""
    aborted: tuple[str, ...] = ()
    """Their job was aborted: the flow run was cancelled or had crashed."""
    resumed: tuple[str, ...] = ()
    """Their flow run was resumed: the job has ended."""
    failed: tuple[str, ...] = ()
    """Neither platform nor Prefect could be asked."""

    def line(self) -> str:
        """The last line that the command line prints."""
        done = f"{len(self.aborted)} jobs aborted, {len(self.resumed)} flow runs resumed"
        return f"{self.looked} unfinished runs: {done}{f', {len(self.failed)} not reached' if self.failed else ''}"


class Rescued(Record):
    """What a look for results that nobody has fetched has done; runs are named by their keys."""

    exported: tuple[str, ...] = ()
    """Their results were fetched, and they are finished."""
    failed: tuple[str, ...] = ()
    """They could not be looked at, or not be finished."""

    def line(self) -> str:
        """The last line that the command line prints."""
        failed = f"; {len(self.failed)} could not be: {', '.join(self.failed)}" if self.failed else ""
        return f"{len(self.exported)} runs exported before the platform forgets them{failed}"


class Replayed(Record):
    """What a replay has shown."""

    key: str
    """Of the replay's own run."""
    original: str
    """Key of the run that was replayed."""
    identical: bool
    """Every row is the same, but for ids that are random by nature."""
    same: int
    """Files with the same results."""
    different: int
    only_before: int
    """Files that only the original run has results of."""
    only_now: int
    examples: tuple[str, ...]
    """The first differences, a line each."""
    verdict: str
    folder: Path

    def line(self) -> str:
        """The last line that the command line prints."""
        return f"replay {self.key} of run {self.original}: {self.verdict}"


class Compiled(Record):
    """A model that a platform has compiled."""

    job_id: str
    model: str
    devices: tuple[str, ...]
    """Empty where they were the platform's choice."""
    attached: bool
    """The job was there already."""
    seconds: float
    """Seconds waited."""

    def line(self) -> str:
        """The last line that the command line prints."""
        devices = ", ".join(self.devices) or "the devices of the platform's choice"
        there = " (there already)" if self.attached else ""
        return f"compiled {self.model} for {devices}: job {self.job_id}{there}, {self.seconds:.1f} s"


RunOutcome = RunSummary | NothingNew | Piloted
"""What a request to run comes to."""
