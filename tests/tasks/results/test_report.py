import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from tasks.results.report import write_report
from tasks.results.report_model import (
    Box,
    ClassCount,
    ContactImage,
    Counts,
    FailureGroup,
    Histogram,
    Report,
    ReportData,
    StepTime,
)

PIXEL = "data:image/jpeg;base64,AAAA"
VOID = {"meta", "img", "rect"}
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>\n\u202e"


def report(text: str = "plain", counts: Counts | None = None) -> Report:
    box = Box(50, 40, 20, 10, text)
    data = ReportData(
        classes=tuple(ClassCount(f"{text} {n}", 50 - n, 0.5) for n in range(25)),
        numbers=(Histogram(text, 0, 10, 4.5, (1, 0, 3), missing=2),),
        failures=(
            FailureGroup("failed", text, text, 30, (text,) * 20),
            FailureGroup("rejected", "stage", "empty", 1, ("a.jpg",)),
        ),
        images=(
            ContactImage(text, text, PIXEL, 100, 80, (box,)),
            ContactImage("b.jpg", "", None, 80, 100, (box,)),
            ContactImage("c.jpg", "", PIXEL, 80, 100),
        ),
    )
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
        counts=counts or Counts(files=1300, sent=1299, processed=1269, failed=30, rejected=1, predictions=7),
        steps=(StepTime("stage", 0.5, text), StepTime("wait", 29.5)),
        data=data,
        versions={text: text},
        notes=(text,),
    )


class Page(HTMLParser):
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
        if tag not in VOID:
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


def page(tmp_path, content: Report) -> Page:
    path = tmp_path / "report.html"
    write_report(path, content)
    return Page(path.read_text(encoding="utf-8"))


def test_report_says_what_happened(tmp_path):
    text = page(tmp_path, report()).text
    assert "1,269 processed, 30 failed, 1 rejected" in text
    assert "1,300 files found, all accounted for" in text
    assert "42.3" in text
    assert "and 5 more classes" in text
    assert "and 10 more" in text
    assert "20 November 2026, 10:00:00 UTC" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_escapes_everything(tmp_path):
    found = page(tmp_path, report(HOSTILE))
    assert found.all("script") == []
    assert {attributes["src"] for attributes in found.all("img")} == {PIXEL}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in found.text
    assert "<script>alert(1)</script>" in found.text


def test_report_asks_for_nothing_from_elsewhere(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report())
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"https?:|url\(|@import|<link|<script", text) == []
    assert "default-src 'none'" in text


def test_report_can_be_read_aloud(tmp_path):
    found = page(tmp_path, report())
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1
    assert all(attributes.get("alt") for attributes in found.all("img"))
    assert all(attributes.get("aria-hidden") == "true" for attributes in found.all("svg"))
    assert len(found.all("caption")) == len(found.all("table")) == 2
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.all("th"))
    labels = {attributes["aria-labelledby"] for attributes in found.all("section")}
    assert labels <= {attributes.get("id") for attributes in found.all("h2")}


def test_files_that_are_lost_are_named(tmp_path):
    counts = Counts(files=10, sent=10, processed=7, failed=1, rejected=0)
    text = page(tmp_path, report(counts=counts)).text
    assert "2 unaccounted for" in text
    assert "do not add up" in text


@pytest.mark.parametrize("files", [0, 3])
def test_report_of_a_run_without_anything(tmp_path, files):
    counts = Counts(files=files, sent=0, processed=0, failed=0, rejected=files)
    bare = replace(report(counts=counts), data=ReportData(), steps=(), notes=(), versions={})
    bare = replace(bare, finished=bare.started)
    found = page(tmp_path, bare)
    assert f"0 processed, 0 failed, {files} rejected" in found.text
    assert [attributes["aria-labelledby"] for attributes in found.all("section")] == ["run"]
