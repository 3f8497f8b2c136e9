"""The report as one HTML page: sections put together from :class:`~tasks.results.report.model.Report`.

Every text that is not ours goes through :func:`~tasks.results.report.text.safe`, and the page's own policy
forbids scripts and anything from elsewhere.
"""

from __future__ import annotations

from tasks.results.report.charts import reconciliation_bar, step_bar
from tasks.results.report.findings import findings
from tasks.results.report.gallery import gallery
from tasks.results.report.judgement import comparison, drift_note, expectations, failures
from tasks.results.report.model import Counts, Report, ReportData, StepTime
from tasks.results.report.parts import TONES, Column, Section, table
from tasks.results.report.style import STYLE
from tasks.results.report.style_film import FILM_STYLE
from tasks.results.report.text import duration, moment, number, plural, rate, safe

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(report: Report) -> str:
    """The whole page."""
    sections = _sections(report)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Run {safe(report.key)}: {safe(headline(report.counts))}</title>\n"
        f"<style>{STYLE}{FILM_STYLE}</style>\n</head>\n<body>\n{_header(report)}\n{_contents(sections)}\n<main>\n"
        + "\n".join((_notes(report), *(section.html() for section in sections)))
        + f"\n</main>\n<footer>Run {safe(report.key)}, written {moment(report.finished)}. "
        "This page needs no network.</footer>\n</body>\n</html>\n"
    )


def headline(counts: Counts) -> str:
    """``12 processed, 0 failed, 1 rejected``."""
    return f"{counts.processed:,} processed, {counts.failed:,} failed, {counts.rejected:,} rejected"


def _sections(report: Report) -> list[Section]:
    tones = _tones(report.data)
    judged = expectations(report.verdicts)
    missed = any(not verdict.met for verdict in report.verdicts)
    parts = (
        judged if missed else None,
        gallery(report.data, tones),
        findings(report.data, tones),
        comparison(report.comparison),
        None if missed else judged,
        failures(report),
        _steps(report.steps),
        _facts(report),
    )
    return [part for part in parts if part]


def _contents(sections: list[Section]) -> str:
    links = "".join(f'<li><a href="#{section.name}">{section.title}</a></li>' for section in sections)
    return f'<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>'


def _tones(data: ReportData) -> dict[str, int]:
    """A colour for each class, the same wherever the class is named."""
    return {item.name: place % TONES for place, item in enumerate(data.classes)}


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
        ("Predictions", number(report.counts.predictions)),
        ("Images a second", rate(report.counts.processed, report.seconds) or "0"),
        ("Wall time", duration(report.seconds)),
        ("Sent to the platform", number(report.counts.sent)),
    )
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    return f'<dl class="figures">{items}</dl>'


def _notes(report: Report) -> str:
    notes = drift_note(report.comparison) + "".join(f"<p>{safe(note)}</p>" for note in report.notes)
    return f'<div class="notes" role="note">{notes}</div>' if notes else ""


def _steps(steps: tuple[StepTime, ...]) -> Section | None:
    if not steps:
        return None
    columns = (
        Column("Step"),
        Column("Time", "number"),
        Column("When", "wide"),
        Column("Throughput", "number"),
        Column("What"),
    )
    rows = (
        (
            safe(step.name),
            duration(step.seconds),
            step_bar(steps, place),
            _throughput(step),
            f'<span class="detail">{safe(step.detail)}</span>',
        )
        for place, step in enumerate(steps)
    )
    body = table("steps", "Time, throughput and counts by step", columns, rows)
    return Section("steps", "Where the time went", "The steps, one after the other.", body)


def _throughput(step: StepTime) -> str:
    """Such as ``25.8 files/s``, with MB/s where the step moves bytes."""
    files = rate(step.files or 0, step.seconds)
    megabytes = rate((step.bytes or 0) / 1e6, step.seconds)
    parts = [f"{files} files/s"] if files else []
    if megabytes:
        parts.append(f"{megabytes} MB/s")
    return '<span class="detail">' + "<br>".join(parts) + "</span>" if parts else ""


def _facts(report: Report) -> Section:
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
    commands = (
        ("The same command finds this run; what is done is not done twice.", report.command),
        ("A replay does the work once more and compares the results row by row.", report.replay),
    )
    body = "".join(f"<p>{about}</p><pre><code>{safe(line, 5_000)}</code></pre>" for about, line in commands)
    body = f'<div class="commands">{body}</div><dl class="facts">{"".join(items)}</dl>'
    return Section("run", "Do it again", "What ran, and how to run it once more.", body)
