from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.core.errors import BadInput, ExpectationsMissed
from tasks.core.options import ComparisonOptions, DatasetOptions, Expectations, ExportChoice
from tasks.core.run_folder import RunFolder, read_lock
from tasks.steps.judging import Judgement, compare_finished, finished_as_asked
from tasks.steps.summarize import summarize
from tests.images import make_image, make_images
from tests.tasks.steps.conftest import Bench, records_of, run_all

NO_FAILURES = Expectations(max_failures=0)


def with_a_bad_file(bench: Bench) -> None:
    make_images(bench.source, 3)
    (bench.source / "empty.jpg").touch()


def test_missed_expectation_fails_the_run_after_its_report_and_before_its_summary(bench: Bench) -> None:
    with_a_bad_file(bench)
    run = bench.staged(expectations=NO_FAILURES)
    with pytest.raises(ExpectationsMissed, match=rf"run {run.folder.key} misses .*: wanted at most 0, found 1"):
        run_all(run)
    assert "at most 0" in run.folder.report.read_text()
    assert run.folder.failures.exists()
    assert not run.folder.summary.exists()


def test_missed_run_is_finished_by_another_expectation_without_new_work(bench: Bench) -> None:
    with_a_bad_file(bench)
    with pytest.raises(ExpectationsMissed):
        run_all(bench.staged(expectations=NO_FAILURES))
    again = bench.staged(expectations=Expectations(max_failures=1))
    lines = len(again.folder.journal.read_text().splitlines())
    assert run_all(again).processed == 3
    assert len(again.folder.journal.read_text().splitlines()) == lines
    assert read_lock(again.folder)["request"]["expectations"]["max_failures"] == 1


def test_finished_run_is_judged_anew(bench: Bench) -> None:
    with_a_bad_file(bench)
    summary = run_all(bench.staged())
    shown: list[Judgement] = []
    assert finished_as_asked(bench.staged(expectations=Expectations(max_failures=1)), shown.append) == summary
    assert [verdict.met for judgement in shown for verdict in judgement.verdicts] == [True]
    with pytest.raises(ExpectationsMissed, match="found 1"):
        finished_as_asked(bench.staged(expectations=NO_FAILURES), shown.append)
    assert [verdict.met for verdict in shown[-1].verdicts] == [False]
    assert finished_as_asked(bench.staged()) == summary


def test_finished_run_counts_only_with_the_export_that_is_asked_for(bench: Bench) -> None:
    make_images(bench.source, 2)
    some = ExportChoice(parts=["aggregated-results"])
    summary = run_all(bench.staged(export=some))
    assert finished_as_asked(bench.staged(export=some)) == summary
    assert finished_as_asked(bench.staged()) is None
    whole = run_all(bench.staged())
    assert whole.finished > summary.finished
    assert finished_as_asked(bench.staged()) == whole
    assert finished_as_asked(bench.staged(export=some)) is None


def test_judgement_is_shown_before_it_fails_the_run(bench: Bench) -> None:
    with_a_bad_file(bench)
    run = bench.staged()
    run_all(run)
    asked = bench.staged(expectations=NO_FAILURES)
    shown: list[Judgement] = []
    with pytest.raises(ExpectationsMissed):
        summarize(asked, records_of(asked), 0.0, shown.append)
    assert [(verdict.name, verdict.met) for verdict in shown[0].verdicts] == [("most failures", False)]


def test_run_is_compared_with_the_previous_one_of_its_request(bench: Bench) -> None:
    make_images(bench.source, 3)
    first = run_all(bench.staged())
    make_image(bench.source / "later.png", 9)
    run = bench.staged(comparison=ComparisonOptions(against="previous"))
    second = run_all(run)
    report = second.report.read_text()
    assert first.key in report
    comparison = compare_finished(run)
    assert comparison is not None
    assert (comparison.key, comparison.other) == (second.key, first.key)


def test_first_run_has_nothing_to_be_compared_with(bench: Bench) -> None:
    make_images(bench.source, 1)
    run = bench.staged(comparison=ComparisonOptions(against="previous"))
    run_all(run)
    assert compare_finished(run) is None


@pytest.mark.parametrize("against", ["0" * 16, "unfinished"])
def test_run_that_nothing_can_be_compared_with_is_told_before_any_work(bench: Bench, against: str) -> None:
    make_images(bench.source, 1)
    unfinished = bench.staged(rerun="other").folder.key
    with pytest.raises(BadInput, match=r"no run in|is not finished"):
        bench.target(comparison=ComparisonOptions(against=unfinished if against == "unfinished" else against))


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        (DatasetOptions(formats=["nope"]), "unknown dataset format 'nope'"),
        (DatasetOptions(formats=["coco", "../x"]), "unknown dataset format '../x'"),
        (DatasetOptions(formats=["coco"], images="link", zipped=True), "an archive cannot hold links"),
    ],
)
def test_dataset_that_cannot_be_is_told_before_any_work(bench: Bench, datasets: DatasetOptions, says: str) -> None:
    make_images(bench.source, 1)
    with pytest.raises(BadInput, match=says):
        bench.target(datasets=datasets)


def test_request_of_a_run_that_was_exported_again_is_the_last_one(bench: Bench) -> None:
    make_images(bench.source, 1)
    run = bench.staged()
    run_all(run)
    again = bench.staged(export=ExportChoice(parts=["aggregated-results"]))
    run_all(again)
    lock = read_lock(RunFolder(Path(run.folder.root)))
    assert lock["request"]["export"]["parts"] == ["aggregated-results"]
    assert "--part=aggregated-results" in lock["command"]
    assert pq.read_table(run.folder.results).num_rows == 1
