from dataclasses import replace
from typing import Any

import pytest

from tasks.core.errors import BudgetExceeded
from tasks.core.pilot import PilotOptions
from tasks.steps.estimating import Estimate, Measured, Range, check_budget, estimate, shown, verdicts, wilson

PILOT = Measured(key="a" * 16, files=10, failed=1, bytes=1000, job_seconds=120.0, start_up=(60.0, 80.0))
INCLUDED, ONCE, BYTES = "by files, start-up included", "by files, start-up once", "by bytes, start-up once"


@pytest.mark.parametrize(
    ("changes", "files", "size", "ways"),
    [
        ({}, 100, 20_000, {INCLUDED: (1200, 1200), ONCE: (480, 660), BYTES: (880, 1260)}),
        ({}, 11, 500, {INCLUDED: (132, 132), ONCE: (124, 126), BYTES: (90, 100)}),
        ({"start_up": (0.0, 0.0)}, 100, 5_000, {INCLUDED: (1200, 1200), ONCE: (1200, 1200), BYTES: (600, 600)}),
        ({"start_up": (120.0, 120.0)}, 100, 5_000, {INCLUDED: (1200, 1200), ONCE: (120, 120), BYTES: (120, 120)}),
        ({}, 100, None, {INCLUDED: (1200, 1200), ONCE: (480, 660)}),
        ({"bytes": None}, 100, 20_000, {INCLUDED: (1200, 1200), ONCE: (480, 660)}),
        ({"bytes": 0}, 100, 0, {INCLUDED: (1200, 1200), ONCE: (480, 660)}),
        ({"job_seconds": 0.0, "start_up": (0.0, 0.0)}, 50, None, {INCLUDED: (0, 0), ONCE: (0, 0)}),
    ],
)
def test_estimate_lies_between_the_least_and_the_greatest_of_its_ways(
    changes: dict[str, Any], files: int, size: int | None, ways: dict[str, Range]
) -> None:
    reckoned = estimate(replace(PILOT, **changes), files, size)
    assert reckoned.ways.keys() == ways.keys()
    assert [reckoned.ways[name] for name in ways] == [pytest.approx(expected) for expected in ways.values()]
    ends = [end for expected in ways.values() for end in expected]
    assert (reckoned.low, reckoned.high) == pytest.approx((min(ends), max(ends)))
    assert reckoned.credits is None


def test_credits_are_machine_hours_at_the_rate() -> None:
    assert estimate(PILOT, 300, None, rate=3.0).credits == pytest.approx(((80 + 30 * 40) / 1200, 3.0))


@pytest.mark.parametrize(
    ("count", "total", "interval"),
    [
        (0, 20, (0.0, 0.1611)),
        (2, 10, (0.0567, 0.5098)),
        (10, 10, (0.7225, 1.0)),
        (50, 1000, (0.0381, 0.0653)),
    ],
)
def test_failures_of_the_whole_are_told_by_wilsons_interval(count: int, total: int, interval: Range) -> None:
    assert wilson(count, total) == pytest.approx(interval, abs=5e-5)


HOURS = Estimate(100, {"a": (3600.0, 7200.0), "b": (1800.0, 5400.0)}, rate=4.0)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"max_hours": 1.9}, "machine hours: wanted at most 1.9, found 0.5 to 2"),
        ({"max_hours": 2}, ""),
        ({"max_credits": 7.9}, "credits: wanted at most 7.9, found 2 to 8"),
        ({"max_credits": 8}, ""),
        ({"max_failure_rate": 0.09}, "failure rate: wanted at most 0.09, found 0.1 (1 of 10)"),
        ({"max_failure_rate": 0.1}, ""),
        (
            {"max_hours": 1, "max_credits": 9, "max_failure_rate": 0},
            "machine hours: wanted at most 1, found 0.5 to 2; failure rate: wanted at most 0, found 0.1 (1 of 10)",
        ),
    ],
)
def test_budget_is_held_against_the_upper_end_of_the_estimate(budget: dict[str, float], said: str) -> None:
    judged = verdicts(PilotOptions(files=10, credits_per_machine_hour=4, **budget), PILOT, HOURS)
    assert len(judged) == len(budget)
    if not said:
        check_budget("b" * 16, judged)
        return
    with pytest.raises(BudgetExceeded) as stopped:
        check_budget("b" * 16, judged)
    assert str(stopped.value) == (
        f"run {'b' * 16} is stopped after its pilot, beyond its budget: {said}; "
        "raise the limit with --budget, or leave out --pilot"
    )


@pytest.mark.parametrize("options", [PilotOptions(files=3), PilotOptions(files=3, credits_per_machine_hour=1)])
def test_without_a_limit_nothing_is_judged(options: PilotOptions) -> None:
    assert verdicts(options, PILOT, HOURS) == ()


def test_table_says_what_is_estimated_and_how() -> None:
    table = shown(PILOT, estimate(PILOT, 100_000, 20_000_000, rate=1.0))
    assert table["pilot"] == f"run {'a' * 16}, 10 of 100000 files"
    assert table["failed"] == "1 of 10; of all files 1.8% to 40.4% (95 % interval)"
    assert table["job"] == "2 min, 1 min to 1.33 min of it before the first work"
    assert table["seconds a file"] == "4 to 6"
    assert table["estimate"] == "111 h to 333 h of machine time for all 100000 files, at the pilot's parallelism"
    assert [table[name] for name in (INCLUDED, ONCE, BYTES)] == ["333 h", "111 h to 167 h", "222 h to 333 h"]
    assert table["credits"] == "111 to 333"
    assert "note" not in table


def test_pause_of_a_restarted_pilot_is_told() -> None:
    assert "was restarted" in shown(replace(PILOT, restarted=True), estimate(PILOT, 20, None))["note"]
