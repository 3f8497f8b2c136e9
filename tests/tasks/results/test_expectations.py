from dataclasses import replace
from typing import Any

import pytest

from tasks.core.options import Expectations
from tasks.results.expectations import Verdict, judge, missed, watched_classes
from tasks.results.facts import OTHER_CLASSES, RunFacts

FACTS = RunFacts(
    key="k",
    files=20,
    processed=14,
    failed=4,
    rejected=2,
    predictions=10,
    empty=7,
    classes={"car": 9, "bus": 1},
    mean_confidence=0.7,
    least_confidence=0.25,
)
NOTHING = RunFacts(key="k", files=0, processed=0, failed=0, rejected=0, predictions=0, empty=0)


def only(expected: dict[str, Any], facts: RunFacts = FACTS) -> Verdict:
    (verdict,) = judge(Expectations.model_validate(expected), facts)
    return verdict


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        ({"max_failures": 6}, Verdict("most failures", "at most 6", "6", True)),
        ({"max_failures": 5}, Verdict("most failures", "at most 5", "6", False)),
        ({"max_failure_rate": 0.3}, Verdict("highest failure rate", "at most 0.3", "0.3 (6 of 20)", True)),
        ({"max_failure_rate": 0.29}, Verdict("highest failure rate", "at most 0.29", "0.3 (6 of 20)", False)),
        ({"max_empty_rate": 0.5}, Verdict("highest share of empty results", "at most 0.5", "0.5 (7 of 14)", True)),
        ({"max_empty_rate": 0.4}, Verdict("highest share of empty results", "at most 0.4", "0.5 (7 of 14)", False)),
        ({"min_mean_confidence": 0.7}, Verdict("least mean confidence", "at least 0.7", "0.7", True)),
        ({"min_mean_confidence": 0.71}, Verdict("least mean confidence", "at least 0.71", "0.7", False)),
        ({"min_confidence": 0.25}, Verdict("least confidence", "at least 0.25", "0.25", True)),
        ({"min_confidence": 1}, Verdict("least confidence", "at least 1", "0.25", False)),
        ({"required_classes": ["car"]}, Verdict("required class car", "at least once", "9 times", True)),
        ({"required_classes": ["bus"]}, Verdict("required class bus", "at least once", "once", True)),
        ({"required_classes": ["cat"]}, Verdict("required class cat", "at least once", "never", False)),
        ({"required_classes": [""]}, Verdict("required class (no class)", "at least once", "never", False)),
        ({"forbidden_classes": ["cat"]}, Verdict("forbidden class cat", "never", "never", True)),
        ({"forbidden_classes": ["bus"]}, Verdict("forbidden class bus", "never", "once", False)),
    ],
)
def test_verdict_tells_what_was_wanted_and_found(expected: dict[str, Any], verdict: Verdict) -> None:
    assert only(expected) == verdict


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"max_failure_rate": 1.0}, "no files"),
        ({"max_empty_rate": 1.0}, "no processed images"),
        ({"min_mean_confidence": 0.0}, "no confidences"),
    ],
)
def test_what_cannot_be_judged_is_missed(expected: dict[str, Any], found: str) -> None:
    verdict = only(expected, NOTHING)
    assert (verdict.found, verdict.met) == (found, False)


def test_no_confidence_is_below_where_there_is_no_prediction() -> None:
    assert only({"min_confidence": 0.5}, NOTHING).met
    unrated = only({"min_confidence": 0.0}, replace(FACTS, least_confidence=None))
    assert (unrated.found, unrated.met) == ("no confidences", False)


def test_limit_of_zero_is_a_limit() -> None:
    assert not only({"max_failures": 0}).met
    assert not only({"max_failure_rate": 0}).met
    assert only({"max_failures": 0}, replace(FACTS, failed=0, rejected=0)).met


@pytest.mark.parametrize(("failed", "rejected"), [(3, 0), (0, 3), (1, 2)])
def test_failed_and_rejected_files_are_both_failures(failed: int, rejected: int) -> None:
    assert only({"max_failures": 2}, replace(FACTS, failed=failed, rejected=rejected)).found == "3"


def test_number_next_to_its_limit_is_judged_and_shown_in_full() -> None:
    verdict = only({"min_mean_confidence": 0.7}, replace(FACTS, mean_confidence=0.69999999))
    assert (verdict.found, verdict.met) == ("0.69999999", False)
    third = only({"max_failure_rate": 0.3333}, replace(FACTS, files=18))
    assert (third.found, third.met) == ("0.33333 (6 of 18)", False)


def test_every_expectation_has_a_verdict_and_every_class_one() -> None:
    every = {
        "max_failures": 6,
        "max_failure_rate": 0.3,
        "max_empty_rate": 0.5,
        "min_mean_confidence": 0.7,
        "min_confidence": 0.25,
        "required_classes": ["car", "bus", "car"],
        "forbidden_classes": ["cat"],
    }
    assert every.keys() == Expectations.model_fields.keys()
    verdicts = judge(Expectations.model_validate(every), FACTS)
    assert len(verdicts) == len({verdict.name for verdict in verdicts}) == 8
    assert missed(verdicts) == ""
    assert judge(Expectations(), FACTS) == ()


def test_class_that_was_not_counted_by_name_is_neither_there_nor_not() -> None:
    facts = replace(FACTS, classes={"car": 9, "late": 0, OTHER_CLASSES: 1})
    for expected in ({"required_classes": ["cat"]}, {"forbidden_classes": ["cat"]}):
        verdict = only(expected, facts)
        assert (verdict.found, verdict.met) == ("too many classes to tell", False)
    assert only({"forbidden_classes": ["late"]}, facts).met


def test_classes_to_be_judged_are_to_be_watched() -> None:
    assert watched_classes(Expectations(required_classes=["a"], forbidden_classes=["b"])) == ("a", "b")


def test_missed_expectations_are_told_in_one_line() -> None:
    expected = Expectations(max_failures=5, min_confidence=0.1, forbidden_classes=["a\nb", "car"])
    assert missed(judge(expected, replace(FACTS, classes={"a\nb": 1, "car": 2}))) == (
        "most failures: wanted at most 5, found 6; forbidden class a b: wanted never, found once; "
        "forbidden class car: wanted never, found 2 times"
    )


def test_long_list_of_missed_expectations_is_cut() -> None:
    text = missed(judge(Expectations(required_classes=[f"c{number}" for number in range(40)]), FACTS))
    assert "c9: " in text
    assert "c10: " not in text
    assert text.endswith("; 30 more")
