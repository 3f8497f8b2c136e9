"""A report with something in each of its parts, and what its page consists of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from tasks.results.compare import ClassShare, Comparison, Measure
from tasks.results.expectations import Verdict
from tasks.results.report.model import (
    Box,
    ClassCount,
    ContactImage,
    Counts,
    DetectionsPerImage,
    FailureGroup,
    Histogram,
    Report,
    ReportData,
    StepTime,
    Tag,
)
from tasks.results.report.pictures import Picture

PIXEL = "data:image/jpeg;base64,AAAA"
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>\n\u202e"
_VOID = {"meta", "img", "br"}


def confidences(name: str = "confidence") -> Histogram:
    return Histogram(name, 0, 1, 0.875, (*(0,) * 16, 1, 3, 0, 5), missing=2)


def data(text: str, picture: Picture | None = None) -> ReportData:
    picture = picture or Picture(PIXEL, 100, 80)
    box = Box(50, 40, 20, 10, text, 0.87, data=text)
    outline = Box(30, 40, 20, 20, text, 0.5, tracker=12, points=((25, 32), (40, 40), (22, 48)), keypoints=((30, 40),))
    return ReportData(
        classes=tuple(ClassCount(f"{text} {n}" if n else text, 50 - n, confidences(text)) for n in range(25)),
        confidence=confidences(),
        detections=DetectionsPerImage(4, Histogram("predictions", 1, 3, 1.5, (6, 0, 2), whole=True)),
        numbers=(Histogram(text, 0, 10, 4.5, (1, 0, 3), missing=2),),
        failures=(
            FailureGroup("failed", text, text, 30, (text,) * 20),
            FailureGroup("rejected", "stage", "empty", 1, ("a.jpg",)),
        ),
        images=(
            ContactImage(
                text,
                picture,
                100,
                80,
                (box, outline),
                undrawn=3,
                tags=(Tag(text, 0.93),),
                values=((text, text),),
                outputs=((text, picture),),
            ),
            ContactImage("b.jpg", None, 80, 100, (box,)),
            ContactImage("c.jpg", picture, 100, 80),
        ),
    )


def comparison(text: str = "plain") -> Comparison:
    measures = (
        Measure(text, text, text, 0.31, 0.2, True),
        Measure("failure rate", "0.4 %", "0.5 %", 0.001, 0.05, False),
        Measure("throughput", "not known", "12 images/s", None, 0.5, False),
    )
    return Comparison("3f9a0c12be77d410", text, measures, (ClassShare(text, 0.25, 0.004),))


def report(text: str = "plain", counts: Counts | None = None) -> Report:
    """Where ``text`` stands for all that comes from elsewhere."""
    return Report(
        key="3f9a0c12be77d410",
        source=text,
        workflow=text,
        platform=text,
        workspace=text,
        batch_id=text,
        job_id=text,
        started=datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC),
        finished=datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC),
        command=text,
        replay=f"replay {text}",
        counts=counts or Counts(files=1300, sent=1299, processed=1269, failed=30, rejected=1, predictions=7),
        steps=(StepTime("stage", 0.5, text, 1300), StepTime("ingest", 4.5, files=1299, bytes=9_000_000)),
        data=data(text),
        versions={text: text},
        notes=(text,),
        verdicts=(Verdict(text, text, text, True), Verdict(f"missed {text}", text, text, False)),
        comparison=comparison(text),
    )


def with_pictures(whole: Report, picture: Picture, said: ReportData | None = None) -> Report:
    """The same with a picture that can be seen."""
    return replace(whole, data=data(whole.source, picture) if said is None else said)


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
