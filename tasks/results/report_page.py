"""The report as one HTML page: sections put together from :class:`~tasks.results.report_model.Report`.

Every text that is not ours goes through :func:`~tasks.results.report_text.safe`, and the page's own policy
forbids scripts and anything from elsewhere.
"""

from __future__ import annotations

from tasks.results.report_charts import (
    box_overlay,
    histogram_chart,
    reconciliation_bar,
    share_bar,
    step_bar,
)
from tasks.results.report_model import (
    ClassCount,
    ContactImage,
    Counts,
    FailureGroup,
    Histogram,
    Report,
    ReportData,
)
from tasks.results.report_style import STYLE
from tasks.results.report_text import duration, moment, number, plural, safe

CLASSES_SHOWN = 20
REASONS_SHOWN = 50
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LONG_NAME = 200


def render(report: Report) -> str:
    """The whole page."""
    sections = (
        _notes(report),
        _images(report.data),
        _findings(report),
        _failures(report),
        _steps(report),
        _facts(report),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Run {safe(report.key)}: {safe(headline(report.counts))}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{_header(report)}\n<main>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n<footer>Run {safe(report.key)}, written {moment(report.finished)}. "
        "This page needs no network.</footer>\n</body>\n</html>\n"
    )


def headline(counts: Counts) -> str:
    """``12 processed, 0 failed, 1 rejected``."""
    return f"{counts.processed:,} processed, {counts.failed:,} failed, {counts.rejected:,} rejected"


def _header(report: Report) -> str:
    counts = report.counts
    spans = ", ".join(
        f'<span class="{name if count else "zero"}">{count:,} {name}</span>'
        for name, count in (("failed", counts.failed), ("rejected", counts.rejected))
    )
    return (
        f'<header>\n<p class="brand"><i></i><b>Darkroom</b> run report <code>{safe(report.key)}</code></p>\n'
        f"<h1>{counts.processed:,} processed, {spans}</h1>\n"
        f'<p class="lead"><strong>{safe(report.source)}</strong> through '
        f"<strong>{safe(report.workflow)}</strong> on {safe(report.platform)}, {moment(report.started)}, "
        f"in {duration(report.seconds)}.</p>\n{_account(counts)}\n{_figures(report)}\n</header>"
    )


def _account(counts: Counts) -> str:
    states = [("processed", counts.processed), ("failed", counts.failed), ("rejected", counts.rejected)]
    if counts.unaccounted:
        states.append(("unaccounted", counts.unaccounted))
    items = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{name}" width="10" height="10"/></svg>'
        f"<b>{count:,}</b> {'unaccounted for' if name == 'unaccounted' else name}</li>"
        for name, count in states
    )
    total = f"{plural(counts.files, 'file')} found"
    verdict = "do not add up" if counts.unaccounted else "all accounted for"
    return (
        f'<div class="account">{reconciliation_bar(counts)}'
        f'<ul class="legend">{items}<li class="sum">{total}, {verdict}</li></ul></div>'
    )


def _figures(report: Report) -> str:
    figures = (
        ("Images a second", number(round(report.rate, 1))),
        ("Wall time", duration(report.seconds)),
        ("Predictions", number(report.counts.predictions)),
        ("Sent to the platform", number(report.counts.sent)),
    )
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    return f'<dl class="figures">{items}</dl>'


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    return f'<div class="notes" role="note">{"".join(f"<p>{safe(note)}</p>" for note in report.notes)}</div>'


def _section(name: str, title: str, about: str, body: str) -> str:
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n'
        f'<p class="about">{about}</p>\n{body}\n</section>'
    )


def _images(data: ReportData) -> str:
    if not data.images:
        return ""
    about = f"{plural(len(data.images), 'image')} from across the run, with the boxes that were predicted."
    figures = "".join(f"<li>{_figure(image)}</li>" for image in data.images)
    return _section("images", "Contact sheet", about, f'<ul class="sheet">{figures}</ul>')


def _figure(image: ContactImage) -> str:
    # The frame is 4:3; an image wider than that fills its width, any other its height.
    shape = "flat" if image.width * 3 >= image.height * 4 else "tall"
    found = image.detail or "nothing detected"
    picture = box_overlay(image) if image.boxes else ""
    if image.data_url is not None:
        alt = f"{safe(image.caption, _LONG_NAME)}: {safe(found, _LONG_NAME)}"
        picture = f'<img src="{safe(image.data_url, len(image.data_url))}" alt="{alt}">' + picture
    detail = f'<span class="detail">{safe(image.detail, _LONG_NAME)}</span>' if image.detail else ""
    return (
        f'<figure><div class="frame"><div class="picture {shape}" '
        f'style="aspect-ratio:{image.width}/{image.height}">{picture}</div></div>'
        f"<figcaption>{safe(image.caption, _LONG_NAME)}{detail}</figcaption></figure>"
    )


def _findings(report: Report) -> str:
    data = report.data
    if not data.classes and not data.numbers:
        return ""
    body = _classes(data.classes) + _plots(data.numbers)
    about = "What the workflow found, over all processed images."
    return _section("findings", "Findings", about, body)


def _classes(classes: tuple[ClassCount, ...]) -> str:
    if not classes:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{safe(item.name, _LONG_NAME)}</th><td class="number">{item.count:,}</td>'
        f'<td class="number">{"" if item.confidence is None else f"{item.confidence:.2f}"}</td>'
        f'<td class="wide">{share_bar(item.count, classes[0].count)}</td></tr>'
        for item in classes[:CLASSES_SHOWN]
    )
    left = len(classes) - CLASSES_SHOWN
    more = f'<p class="detail">and {plural(left, "more class", "more classes")}</p>' if left > 0 else ""
    return (
        '<table class="classes"><caption>Predictions by class</caption><thead><tr><th scope="col">Class</th>'
        '<th scope="col" class="number">Predictions</th><th scope="col" class="number">Mean confidence</th>'
        f'<th scope="col" class="wide"><span hidden>Share</span></th></tr></thead><tbody>{rows}</tbody></table>{more}'
    )


def _plots(numbers: tuple[Histogram, ...]) -> str:
    if not numbers:
        return ""
    return f'<div class="plots">{"".join(_plot(histogram) for histogram in numbers)}</div>'


def _plot(histogram: Histogram) -> str:
    low, high, mean = number(histogram.low), number(histogram.high), number(histogram.mean)
    missing = f", {plural(histogram.missing, 'image')} without" if histogram.missing else ""
    return (
        f"<figure><h3>{safe(histogram.name)}</h3>{histogram_chart(histogram)}"
        f'<figcaption class="ends"><span>{low}</span><span>mean {mean}{missing}</span><span>{high}</span>'
        "</figcaption></figure>"
    )


def _failures(report: Report) -> str:
    groups = report.data.failures
    if not groups:
        return ""
    count = report.counts.failed + report.counts.rejected
    about = f"{plural(count, 'file')} without a result, by reason. The rest of the run is not affected."
    body = "".join(_reason(group, open_=place == 0) for place, group in enumerate(groups[:REASONS_SHOWN]))
    left = len(groups) - REASONS_SHOWN
    if left > 0:
        body += f'<p class="detail">and {plural(left, "more reason")} in failures.parquet</p>'
    return _section("failures", "Failed and rejected", about, body)


def _reason(group: FailureGroup, *, open_: bool) -> str:
    names = "".join(f"<li>{safe(name, _LONG_NAME)}</li>" for name in group.examples)
    left = group.count - len(group.examples)
    if left > 0:
        names += f"<li>and {left:,} more</li>"
    kind = "rejected" if group.state == "rejected" else "failed"
    return (
        f'<details class="reason"{" open" if open_ else ""}><summary><span class="many">{group.count:,}</span>'
        f'<span class="why">{safe(group.reason)}</span>'
        f'<span class="tag is-{kind}">{kind} in {safe(group.step)}</span></summary><ul>{names}</ul></details>'
    )


def _steps(report: Report) -> str:
    steps = report.steps
    if not steps:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{safe(step.name)}</th><td class="number">{duration(step.seconds)}</td>'
        f'<td class="wide">{step_bar(steps, place)}</td><td class="detail">{safe(step.detail)}</td></tr>'
        for place, step in enumerate(steps)
    )
    table = (
        '<table class="steps"><caption>Time and counts by step</caption><thead><tr><th scope="col">Step</th>'
        '<th scope="col" class="number">Time</th><th scope="col" class="wide">When</th>'
        f'<th scope="col">What</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    return _section("steps", "Where the time went", "The steps, one after the other.", table)


def _facts(report: Report) -> str:
    facts = [
        ("Run", report.key),
        ("Source", report.source),
        ("Workflow", report.workflow),
        ("Platform", report.platform),
        ("Workspace", report.workspace),
        ("Batch", report.batch_id),
        ("Job", report.job_id),
        *report.versions.items(),
    ]
    items = [f"<div><dt>{safe(name)}</dt><dd>{safe(value)}</dd></div>" for name, value in facts]
    for name, time in (("Started", report.started), ("Finished", report.finished)):
        items.append(f"<div><dt>{name}</dt><dd>{moment(time)}</dd></div>")
    body = f'<pre><code>{safe(report.command, 5_000)}</code></pre>\n<dl class="facts">{"".join(items)}</dl>'
    return _section("run", "Do it again", "The same command finds this run; what is done is not done twice.", body)
