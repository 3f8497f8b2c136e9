"""What the workflow found: classes, confidences, predictions an image, numbers."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.results.report.charts import histogram_chart, share_bar
from tasks.results.report.model import ClassCount, DetectionsPerImage, Histogram, ReportData
from tasks.results.report.parts import Column, Section, named, swatch, table
from tasks.results.report.text import number, percent, plural, safe

CLASSES_SHOWN = 20
CLASSES_PLOTTED = 6
"""Classes whose confidences are drawn one by one."""


def findings(data: ReportData, tones: Mapping[str, int]) -> Section | None:
    """The section; nothing where no workflow output can be summed up."""
    spread = [*_confidence(data.confidence), *_per_image(data.detections), *map(_numeric, data.numbers)]
    body = _classes(data.classes, tones) + _grid(spread, "Distributions")
    body += _grid(_by_class(data.classes, tones), "Confidence by class")
    about = "What the workflow found, over all processed images."
    return Section("findings", "Findings", about, body) if body else None


def _classes(classes: tuple[ClassCount, ...], tones: Mapping[str, int]) -> str:
    if not classes:
        return ""
    total = sum(item.count for item in classes)
    columns = (
        Column("Class"),
        Column("Predictions", "number"),
        Column("Share", "number"),
        Column("Mean confidence", "number"),
        Column("Bar", "wide", unseen=True),
    )
    rows = (
        (
            f"{swatch(tones[item.name])}{named(item.name)}",
            f"{item.count:,}",
            percent(item.count / total),
            "" if item.confidence is None else f"{item.confidence.mean:.2f}",
            share_bar(item.count, classes[0].count, f"c{tones[item.name]}"),
        )
        for item in classes[:CLASSES_SHOWN]
    )
    left = len(classes) - CLASSES_SHOWN
    more = f'<p class="detail">and {plural(left, "more class", "more classes")}</p>' if left > 0 else ""
    return table("classes", "Predictions by class", columns, rows) + more


def _grid(plots: list[str], title: str) -> str:
    if not plots:
        return ""
    return f'<h3 class="group">{title}</h3><div class="plots">{"".join(plots)}</div>'


def _confidence(histogram: Histogram | None) -> list[str]:
    if histogram is None:
        return []
    middle = f"mean {histogram.mean:.2f} of {plural(histogram.total, 'prediction')}"
    if histogram.missing:
        middle += f", {histogram.missing:,} without"
    return [_plot("Confidence", histogram_chart(histogram, "confidence", "prediction"), ("0", middle, "1"))]


def _by_class(classes: tuple[ClassCount, ...], tones: Mapping[str, int]) -> list[str]:
    rated = [item for item in classes if item.confidence is not None]
    if len(rated) < 2:  # one class's is that of all
        return []
    plots = []
    for item in rated[:CLASSES_PLOTTED]:
        assert item.confidence is not None
        tone = tones[item.name]
        chart = histogram_chart(item.confidence, f"confidence of {item.name}", "prediction", f"c{tone}")
        ends = ("0", f"mean {item.confidence.mean:.2f} of {item.confidence.total:,}", "1")
        plots.append(_plot(f"{swatch(tone)}{named(item.name)}", chart, ends))
    return plots


def _per_image(detections: DetectionsPerImage | None) -> list[str]:
    if detections is None:
        return []
    some = detections.some
    images = detections.none + (some.total if some else 0)
    if not images:
        return []
    without = f"{detections.none:,} of {plural(images, 'image')} ({percent(detections.none / images)}) without"
    if some is None:
        return [_plot("Predictions an image", f'<p class="detail">{without}</p>', None)]
    chart = histogram_chart(some, "predictions an image", "image", apart=detections.none)
    low = "0" if detections.none else number(some.low)
    middle = f"{without}, mean of the others {number(some.mean)}"
    return [_plot("Predictions an image", chart, (low, middle, number(some.high)))]


def _numeric(histogram: Histogram) -> str:
    middle = f"mean {number(histogram.mean)}"
    if histogram.missing:
        middle += f", {plural(histogram.missing, 'image')} without"
    chart = histogram_chart(histogram, histogram.name, "image")
    return _plot(safe(histogram.name), chart, (number(histogram.low), middle, number(histogram.high)))


def _plot(title: str, chart: str, ends: tuple[str, str, str] | None) -> str:
    caption = ""
    if ends is not None:
        low, middle, high = ends if ends[0] != ends[2] else ("", f"all {ends[0]}; {ends[1]}", "")
        caption = f'<figcaption class="ends"><span>{low}</span><span>{middle}</span><span>{high}</span></figcaption>'
    return f"<figure><h4>{title}</h4>{chart}{caption}</figure>"
