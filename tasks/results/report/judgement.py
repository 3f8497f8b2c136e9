"""How a run is judged: by what was expected, against another run, and by what failed."""

from __future__ import annotations

from tasks.results.compare import ClassShare, Comparison, Measure
from tasks.results.expectations import Verdict
from tasks.results.report.charts import change_bars
from tasks.results.report.model import FailureGroup, Report
from tasks.results.report.parts import Column, Section, named, table
from tasks.results.report.text import number, percent, plural, safe

REASONS_SHOWN = 50
CLASSES_COMPARED = 12


def expectations(verdicts: tuple[Verdict, ...]) -> Section | None:
    """The section; nothing where nothing was expected."""
    if not verdicts:
        return None
    missed = [verdict for verdict in verdicts if not verdict.met]
    columns = (Column("Expectation"), Column("Wanted"), Column("Found"), Column("Verdict"))
    rows = (
        (
            safe(verdict.name),
            safe(verdict.wanted),
            safe(verdict.found),
            _mark("good", "met") if verdict.met else _mark("bad", "missed"),
        )
        for verdict in (*missed, *(verdict for verdict in verdicts if verdict.met))
    )
    if missed:
        title = f"{plural(len(missed), 'expectation')} missed"
        about = f"Of {len(verdicts):,} that the run was given. It fails for this, before anything is published."
    else:
        title, about = "Expectations", f"All {len(verdicts):,} that the run was given are met."
    body = table("judged", "What was expected and what was found", columns, rows)
    return Section("expectations", title, about, body, kind="alarm" if missed else "")


def comparison(found: Comparison | None) -> Section | None:
    """The section; nothing where the run was not compared."""
    if found is None:
        return None
    drifted = [measure for measure in found.measures if measure.beyond]
    said = (
        f"{plural(len(drifted), 'measure')} changed beyond the limit" if drifted else "Nothing changed beyond a limit"
    )
    columns = (Column("Measure"), Column("Before"), Column("Now"), Column("Change"))
    body = table("compared", "Measures of both runs", columns, map(_measure, found.measures))
    if found.classes:
        body += table(
            "shares",
            "Share of each class in all predictions",
            (Column("Class"), Column("Before", "number"), Column("Now", "number"), Column("Bars", "wide", unseen=True)),
            map(_share, found.classes[:CLASSES_COMPARED]),
        )
    about = f"{said} since run <code>{safe(found.other)}</code>."
    return Section("comparison", "Compared with another run", about, body)


def drift_note(found: Comparison | None) -> str:
    """One sentence for the top of the page; nothing where no measure is beyond its limit."""
    if found is None or not found.drifted:
        return ""
    names = ", ".join(safe(measure.name) for measure in found.measures if measure.beyond)
    since = f"Changed beyond the limit since run <code>{safe(found.other)}</code>"
    return f'<p>{since}: <a href="#comparison">{names}</a>.</p>'


def failures(report: Report) -> Section | None:
    """The section; nothing where every file has a result."""
    groups = report.data.failures
    if not groups:
        return None
    count = report.counts.failed + report.counts.rejected
    about = f"{plural(count, 'file')} without a result, by reason. The rest of the run is not affected."
    body = "".join(_reason(group, open_=place == 0) for place, group in enumerate(groups[:REASONS_SHOWN]))
    left = len(groups) - REASONS_SHOWN
    if left > 0:
        body += f'<p class="detail">and {plural(left, "more reason")} in failures.parquet</p>'
    return Section("failures", "Failed and rejected", about, body)


def _measure(measure: Measure) -> tuple[str, ...]:
    change = "" if measure.change is None else number(round(measure.change, 4))
    if measure.beyond:
        mark = _mark("bad", "beyond")
    else:
        mark = _mark("open", "unknown") if measure.change is None else _mark("good", "within")
    told = f'{change} <span class="detail">limit {number(measure.limit)}</span> {mark}'
    return safe(measure.name), safe(measure.before), safe(measure.now), told


def _share(share: ClassShare) -> tuple[str, ...]:
    return named(share.name), percent(share.before), percent(share.now), change_bars(share.before, share.now)


def _mark(kind: str, text: str) -> str:
    return f'<span class="mark is-{kind}">{text}</span>'


def _reason(group: FailureGroup, *, open_: bool) -> str:
    names = "".join(f"<li>{named(name)}</li>" for name in group.examples)
    left = group.count - len(group.examples)
    if left > 0:
        names += f"<li>and {left:,} more</li>"
    kind = "rejected" if group.state == "rejected" else "failed"
    return (
        f'<details class="reason"{" open" if open_ else ""}><summary><span class="many">{group.count:,}</span>'
        f'<span class="why">{safe(group.reason)}</span>'
        f'<span class="tag is-{kind}">{kind} in {safe(group.step)}</span></summary><ul>{names}</ul></details>'
    )
