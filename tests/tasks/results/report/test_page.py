import re
from dataclasses import replace
from itertools import pairwise

import pytest

from tasks.results.compare import Comparison
from tasks.results.expectations import Verdict
from tasks.results.report.model import Counts, Report, ReportData
from tasks.results.report.writing import write_report
from tests.tasks.results.report.reports import HOSTILE, PIXEL, Parsed, comparison, report


def page(tmp_path, content: Report) -> Parsed:
    path = tmp_path / "report.html"
    write_report(path, content)
    return Parsed(path.read_text(encoding="utf-8"))


def sections(found: Parsed) -> list[str | None]:
    return [attributes["aria-labelledby"] for attributes in found.all("section")]


def test_report_says_what_happened(tmp_path):
    text = page(tmp_path, report()).text
    assert "1,269 processed, 30 failed, 1 rejected" in text
    assert "1,300 files found, all accounted for" in text
    assert "42.3" in text
    assert "and 5 more classes" in text
    assert "and 10 more" in text
    assert "20 November 2026, 10:00:00 UTC" in text
    assert "replay plain" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_report_tells_throughput_by_step(tmp_path):
    text = page(tmp_path, report()).text
    assert "2,600 files/s" in text
    assert "289 files/s2.0 MB/s" in text


def test_report_tells_confidences_and_predictions_an_image(tmp_path):
    found = page(tmp_path, report())
    assert "mean 0.88 of 9 predictions, 2 without" in found.text
    assert "4 of 12 images (33 %) without, mean of the others 1.5" in found.text
    names = [attributes.get("aria-label") for attributes in found.all("svg")]
    assert (
        "Histogram of confidence. 0.8 to 0.85: 1 prediction; 0.85 to 0.9: 3 predictions; 0.95 to 1: 5 predictions"
        in names
    )
    assert "Histogram of predictions an image. 0: 4 images; 1: 6 images; 3: 2 images" in names
    assert sum("confidence of plain" in (name or "") for name in names) == 6


def test_report_escapes_everything(tmp_path):
    found = page(tmp_path, report(HOSTILE))
    assert found.all("script") == []
    assert {attributes["src"] for attributes in found.all("img")} == {PIXEL}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert {attributes["href"] for attributes in found.all("a")} <= {f"#{a.get('id')}" for _, a in found.tags}
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
    svgs = found.all("svg")
    assert svgs
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and a.get("aria-label")) for a in svgs)
    assert len(found.all("caption")) == len(found.all("table")) == 5
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.all("th"))
    assert set(sections(found)) <= {attributes.get("id") for attributes in found.all("h2")}


def test_headings_leave_no_level_out(tmp_path):
    levels = [int(tag[1]) for tag, _ in page(tmp_path, report()).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_there_once_and_links_lead_to_them(tmp_path):
    found = page(tmp_path, report())
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]).removeprefix("#") for attributes in found.all("a")]
    assert set(links) <= set(ids)
    assert {str(name) for name in sections(found)} <= set(links)


def test_missed_expectations_come_first(tmp_path):
    found = page(tmp_path, report())
    assert sections(found)[0] == "expectations"
    assert "1 expectation missed" in found.text
    assert found.text.index("missed plain") < found.text.index("Contact sheet", found.text.index("missed plain"))


def test_met_expectations_are_told_without_alarm(tmp_path):
    met = (Verdict("most failures", "at most 50", "31", True),)
    found = page(tmp_path, replace(report(), verdicts=met))
    assert sections(found).index("expectations") > sections(found).index("findings")
    assert "All 1 that the run was given are met" in found.text
    assert "alarm" not in {attributes.get("class") for attributes in found.all("section")}


def test_comparison_marks_what_drifted(tmp_path):
    found = page(tmp_path, report())
    assert "Changed beyond the limit since run plain: plain." in found.text
    assert "1 measure changed beyond the limit since run plain." in found.text
    for words in ("0.31 limit 0.2 beyond", "0.001 limit 0.05 within", "limit 0.5 unknown", "25 %0.4 %"):
        assert words in found.text


def test_comparison_without_drift_is_not_at_the_top(tmp_path):
    calm = Comparison("a", "other", comparison().measures[1:], ())
    text = page(tmp_path, replace(report(), comparison=calm)).text
    assert "Nothing changed beyond a limit since run other." in text
    assert "Changed beyond" not in text


def test_files_that_are_lost_are_named(tmp_path):
    counts = Counts(files=10, sent=10, processed=7, failed=1, rejected=0)
    text = page(tmp_path, report(counts=counts)).text
    assert "2 unaccounted for" in text
    assert "do not add up" in text


@pytest.mark.parametrize("files", [0, 3])
def test_report_of_a_run_without_anything(tmp_path, files):
    counts = Counts(files=files, sent=0, processed=0, failed=0, rejected=files)
    bare = replace(report(counts=counts), data=ReportData(), steps=(), notes=(), versions={})
    bare = replace(bare, finished=bare.started, verdicts=(), comparison=None)
    found = page(tmp_path, bare)
    assert f"0 processed, 0 failed, {files} rejected" in found.text
    assert sections(found) == ["run"]
    assert found.all("svg")
    assert "notes" not in {attributes.get("class") for attributes in found.all("div")}
