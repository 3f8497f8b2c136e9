"""What a report says; how it looks is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tasks.results.compare import Comparison
from tasks.results.expectations import Verdict
from tasks.results.report.pictures import Picture

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
    files: int | None = None
    """Files that went through it; ``None`` where it does not handle files."""
    bytes: int | None = None
    """Bytes that it moved or looked at, where they are known."""


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
class Histogram:
    """How the numbers of one column are spread over equal bins from ``low`` to ``high``."""

    name: str
    low: float
    high: float
    mean: float
    counts: tuple[int, ...]
    missing: int = 0
    """Images or predictions without a value."""
    whole: bool = False
    """The numbers are whole and each has a bin of its own."""

    @property
    def total(self) -> int:
        """Values counted."""
        return sum(self.counts)


@dataclass(frozen=True)
class ClassCount:
    """How often a class was predicted."""

    name: str
    count: int
    confidence: Histogram | None = None
    """Of the predictions that have one; ``None`` where none has."""


@dataclass(frozen=True)
class DetectionsPerImage:
    """How many predictions the images have."""

    none: int
    """Images without one."""
    some: Histogram | None = None
    """Of the images that have any."""


@dataclass(frozen=True)
class Box:
    """A detection to draw, in pixels of the image."""

    x: float
    """Of its centre, as ``y``."""
    y: float
    width: float
    height: float
    name: str
    """Its class."""
    confidence: float | None = None
    """0 to 1."""
    data: str = ""
    """What a code says."""
    tracker: int | None = None
    points: tuple[tuple[float, float], ...] = ()
    """Outline, where the detection has one."""
    keypoints: tuple[tuple[float, float], ...] = ()

    @property
    def label(self) -> str:
        """Such as ``car 0.87``, or ``car #12 0.87`` where it is followed through a video."""
        tracked = "" if self.tracker is None else f" #{self.tracker}"
        return f"{self.name}{tracked}{rated(self.confidence)}"


@dataclass(frozen=True)
class Tag:
    """A class that was given to a whole image."""

    name: str
    confidence: float | None = None

    @property
    def label(self) -> str:
        """Such as ``cat 0.93``."""
        return f"{self.name}{rated(self.confidence)}"


@dataclass(frozen=True)
class ContactImage:
    """One picture of the contact sheet."""

    caption: str
    """Name in the source, with the frame of a video."""
    picture: Picture | None
    """``None`` where there is no picture to show."""
    width: int
    """Pixels of the image that boxes refer to."""
    height: int
    boxes: tuple[Box, ...] = ()
    undrawn: int = 0
    """Detections that are not among ``boxes``: there are too many, or they belong to another shape of image."""
    tags: tuple[Tag, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    """Names and values of the workflow's plain outputs."""
    outputs: tuple[tuple[str, Picture], ...] = ()
    """Names and small copies of the images that the workflow made of it."""


@dataclass(frozen=True)
class ReportData:
    """What is read from the run's tables and images."""

    classes: tuple[ClassCount, ...] = ()
    """Most frequent first."""
    confidence: Histogram | None = None
    """Of all predictions; ``None`` where none has one."""
    detections: DetectionsPerImage | None = None
    """``None`` where the workflow makes no predictions."""
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
    """Asks for the run again, which finds it."""
    replay: str
    """Does the run again and compares the results."""
    counts: Counts
    steps: tuple[StepTime, ...]
    data: ReportData = field(default_factory=ReportData)
    versions: Mapping[str, str] = field(default_factory=dict)
    """Name and version of what took part, such as ``darkroom`` or the workflow's digest."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader should see before anything else, such as results that were left out."""
    verdicts: tuple[Verdict, ...] = ()
    """Of what was expected of the run."""
    comparison: Comparison | None = None
    """With another run."""

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return max((self.finished - self.started).total_seconds(), 0.0)

    @property
    def rate(self) -> float:
        """Images a second over the whole run; 0 for a run that took no time."""
        return self.counts.processed / self.seconds if self.seconds else 0.0


def rated(confidence: float | None) -> str:
    """A confidence as the end of a label: a space and two digits, or nothing."""
    return "" if confidence is None else f" {confidence:.2f}"
