from dataclasses import replace
from math import isfinite, log
from typing import Any

import pytest

from tasks.core.options import ComparisonOptions
from tasks.results.compare import MOST_CLASSES, ClassShare, Comparison, Measure, compare, stability_index
from tasks.results.facts import CONFIDENCE_BINS, RunFacts


def bins(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(f"b{place}", 0) for place in range(CONFIDENCE_BINS))


FACTS = RunFacts(
    key="now",
    files=20,
    processed=19,
    failed=1,
    rejected=0,
    predictions=100,
    empty=0,
    classes={"car": 90, "bus": 10},
    confidences=bins(b10=30, b19=70),
    mean_confidence=0.8125,
    seconds=9.5,
)


def against(before: RunFacts, now: RunFacts = FACTS, **options: Any) -> Comparison:
    return compare(now, replace(before, key="before"), ComparisonOptions(**options))


def measure(comparison: Comparison, name: str) -> Measure:
    (found,) = [measure for measure in comparison.measures if measure.name == name]
    return found


def test_equal_runs_have_not_changed() -> None:
    comparison = against(FACTS)
    assert (comparison.key, comparison.other, comparison.drifted) == ("now", "before", False)
    assert [(m.name, m.change, m.beyond) for m in comparison.measures] == [
        ("class mix", 0.0, False),
        ("confidence", 0.0, False),
        ("failure rate", 0.0, False),
        ("throughput", 0.0, False),
    ]
    assert [m.limit for m in comparison.measures] == [0.2, 0.2, 0.05, 0.5]


def test_index_is_the_sum_over_the_bins() -> None:
    expected = (0.5 - 0.9) * log(0.5 / 0.9) + (0.5 - 0.1) * log(0.5 / 0.1)
    assert stability_index([50, 50], [90, 10]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("now", "before"), [([3, 7, 0], [300, 700, 0]), ([1, 1, 1], [7, 7, 7])])
def test_index_of_equal_shares_is_zero(now: list[int], before: list[int]) -> None:
    assert stability_index(now, before) == 0.0


@pytest.mark.parametrize(("one", "other"), [([3, 7, 0], [1, 0, 9]), ([10, 0], [0, 1]), ([1, 2, 3], [3, 2, 1])])
def test_index_is_the_same_both_ways_and_finite(one: list[int], other: list[int]) -> None:
    assert stability_index(one, other) == stability_index(other, one)
    assert isfinite(stability_index(one, other))
    assert stability_index(one, other) > 0


def test_empty_bin_counts_as_a_thousandth_of_an_even_share() -> None:
    floor = 0.001 / 2
    assert stability_index([1, 0], [1, 1]) == pytest.approx((1 - 0.5) * log(2) + (floor - 0.5) * log(floor / 0.5))


def test_bins_that_both_lack_do_not_count() -> None:
    assert stability_index([3, 0, 7], [10, 0, 0]) == stability_index([3, 7], [10, 0])


def test_ten_thousand_rare_classes_that_are_all_others_are_a_change() -> None:
    words = 10_000
    assert stability_index([1] * words + [0] * words, [0] * words + [1] * words) > 5


def test_change_at_the_limit_is_beyond() -> None:
    before = replace(FACTS, classes={"car": 50, "bus": 50}, confidences=bins(b10=60, b19=40))
    changes = {name: measure(against(before), name).change for name in ("class mix", "confidence")}
    assert changes["class mix"] == pytest.approx(0.8789, abs=1e-4)
    for name, option in (("class mix", "class_shift"), ("confidence", "confidence_shift")):
        change = changes[name]
        assert change is not None
        for limit, beyond in ((change, True), (change * 1.001, False)):
            options = {option: limit}
            assert measure(against(before, FACTS, **options), name).beyond is beyond


def test_classes_that_vanished_altogether_are_a_drift() -> None:
    none = replace(FACTS, predictions=0, classes={}, confidences=bins(), mean_confidence=None)
    for comparison in (against(none), against(FACTS, none)):
        for name in ("class mix", "confidence"):
            found = measure(comparison, name)
            assert (found.change, found.beyond) == (None, True)
    found = measure(against(FACTS, none), "class mix")
    assert (found.before, found.now) == ("100 predictions of 2 classes", "no predictions")
    found = measure(against(FACTS, none), "confidence")
    assert (found.before, found.now) == ("mean 0.812", "no confidences")


def test_runs_that_both_predict_nothing_have_not_changed() -> None:
    none = replace(FACTS, predictions=0, classes={"watched": 0}, confidences=bins(), mean_confidence=None)
    comparison = against(none, none)
    assert [m.change for m in comparison.measures] == [None, None, 0.0, 0.0]
    assert (comparison.drifted, comparison.classes) == (False, ())


@pytest.mark.parametrize(("failed", "beyond"), [(7, True), (6, False), (0, False)])
def test_rise_of_the_failure_rate_is_told_from_its_limit_on(failed: int, beyond: bool) -> None:
    before, now = replace(FACTS, failed=4, rejected=2), replace(FACTS, failed=failed, rejected=0)
    found = measure(against(before, now), "failure rate")
    assert found.beyond is beyond
    assert found.change == (failed - 6) / 20  # 0.35 - 0.3 would be less than 0.05
    assert found.before == "30 % (6 of 20)"


def test_failure_rate_of_no_files_cannot_be_said() -> None:
    found = measure(against(replace(FACTS, files=0, failed=0)), "failure rate")
    assert (found.change, found.beyond, found.before) == (None, False, "no files")


@pytest.mark.parametrize(("seconds", "change", "beyond"), [(19.0, 0.5, True), (18.9, None, False), (4.75, -1.0, False)])
def test_drop_of_the_throughput_is_told_from_its_limit_on(seconds: float, change: float | None, beyond: bool) -> None:
    found = measure(against(FACTS, replace(FACTS, seconds=seconds)), "throughput")
    assert found.beyond is beyond
    assert found.before == "2 images/s"
    if change is not None:
        assert found.change == change


@pytest.mark.parametrize("unknown", [replace(FACTS, seconds=0.0), replace(FACTS, processed=0)])
def test_throughput_of_a_run_that_took_no_time_or_did_nothing_cannot_be_said(unknown: RunFacts) -> None:
    found = measure(against(unknown), "throughput")
    assert (found.change, found.beyond) == (None, False)


def test_run_that_processes_nothing_any_more_has_dropped() -> None:
    assert measure(against(FACTS, replace(FACTS, processed=0)), "throughput").change == 1.0


def test_classes_are_told_by_how_much_their_share_changed() -> None:
    before = replace(FACTS, classes={"car": 40, "bus": 8, "gone": 2, "watched": 0})
    now = replace(FACTS, classes={"car": 10, "bus": 2, "": 8})
    shares = against(before, now).classes
    assert [share.name for share in shares] == ["(no class)", "car", "bus", "gone"]
    assert shares[0] == ClassShare("(no class)", 0.0, 0.4)
    assert shares[1] == ClassShare("car", 0.8, 0.5)


def test_most_changed_classes_are_kept() -> None:
    many = replace(FACTS, classes={f"class {number}": 1000 + number for number in range(50)})
    shares = against(replace(FACTS, classes={"only": 1}), many).classes
    assert len(shares) == MOST_CLASSES
    assert [share.name for share in shares[:3]] == ["only", "class 49", "class 48"]


def test_run_is_drifted_by_any_measure() -> None:
    assert against(FACTS, replace(FACTS, failed=20)).drifted
