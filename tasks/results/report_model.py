"""What a report says; how it looks is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

EXAMPLES_PER_REASON = 20
CONTACT_SHEET_IMAGES = 24


@dataclass(frozen=True)
class Counts:
    """Files by where they ended; ``files = processed + failed + rejected`` where nothing is lost."""

    files: int
    """Files of the wanted kind that the source holds."""
    sent: int
    """Files that the platform took."""
    processed: int
    failed: int
    rejected: int
    predictions: int = 0

    @property
    def unaccounted(self) -> int:
        """Files that ended nowhere; anything but 0 is a fault."""
        return self.files - self.processed - self.failed - self.rejected


@dataclass(frozen=True)
class StepTime:
    """How long a step took and what it did."""

    name: str
    seconds: float
    detail: str = ""
    """A few words, such as ``13 files, 1.2 MB``."""


@dataclass(frozen=True)
class FailureGroup:
    """Files that ended for one reason."""

    state: str
    """``failed`` or ``rejected``."""
    step: str
    reason: str
    count: int
    examples: tuple[str, ...]
    """Names in the source of up to 20 of them."""


@dataclass(frozen=True)
class ClassCount:
    """How often a class was predicted."""

    name: str
    count: int
    confidence: float | None = None
    """Mean confidence, 0 to 1."""


@dataclass(frozen=True)
class Histogram:
    """How the numbers of one column are spread over equal bins from ``low`` to ``high``."""

    name: str
    low: float
    high: float
    mean: float
    counts: tuple[int, ...]
    missing: int = 0
    """Images without a value."""

    @property
    def total(self) -> int:
        """Values counted."""
        return sum(self.counts)


@dataclass(frozen=True)
class Box:
    """A detection to draw, in pixels of the image; ``x`` and ``y`` are its centre."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class ContactImage:
    """One picture of the contact sheet."""

    caption: str
    """Name in the source."""
    detail: str
    """What was found, in words; also read out by screen readers."""
    data_url: str | None
    """A small JPEG as ``data:`` URL; ``None`` where there is no picture to show."""
    width: int
    """Pixels of the picture that boxes refer to."""
    height: int
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """What is read from the run's tables and images."""

    classes: tuple[ClassCount, ...] = ()
    """Most frequent first."""
    numbers: tuple[Histogram, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    """Most frequent first."""
    images: tuple[ContactImage, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that the report of one run says."""

    key: str
    source: str
    workflow: str
    platform: str
    """``embedded``, ``roboflow`` or the host of a server."""
    workspace: str
    batch_id: str
    job_id: str
    started: datetime
    """With a time zone; shown in UTC."""
    finished: datetime
    command: str
    """Does the run again."""
    counts: Counts
    steps: tuple[StepTime, ...]
    data: ReportData = field(default_factory=ReportData)
    versions: Mapping[str, str] = field(default_factory=dict)
    """Name and version of what took part, such as ``darkroom`` or the workflow's digest."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader should see before anything else, such as results that were left out."""

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return max((self.finished - self.started).total_seconds(), 0.0)

    @property
    def rate(self) -> float:
        """Images a second over the whole run; 0 for a run that took no time."""
        return self.counts.processed / self.seconds if self.seconds else 0.0
