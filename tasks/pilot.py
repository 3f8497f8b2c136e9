"""What is shown of a pilot."""

from __future__ import annotations

from prefect.logging import get_run_logger

from tasks.artifacts import show_table
from tasks.results.expectations import Verdict
from tasks.steps.estimating import Estimate, Measured, shown


def show_pilot(key: str, pilot: Measured, reckoned: Estimate, judged: tuple[Verdict, ...]) -> None:
    """A table and a line of what the pilot of a run says, and of the budget that it is held against.

    Args:
        key: of the run.
        pilot: what its pilot took.
        reckoned: what it is reckoned to take.
        judged: a verdict on each limit of the budget.
    """
    facts = shown(pilot, reckoned)
    budget = {f"budget: {one.name}": f"{one.wanted}: {'within' if one.met else 'beyond'}" for one in judged}
    verdict = _verdict(judged)
    show_table("pilot", facts | budget | {"verdict": verdict}, f"Pilot `{pilot.key}` of run `{key}`")
    get_run_logger().info(
        "pilot: %s s a file, %d of %d failed; run %s is reckoned to take %s of machine time: %s",
        facts["seconds a file"],
        pilot.failed,
        pilot.files,
        key,
        reckoned.told(),
        verdict,
    )


def _verdict(judged: tuple[Verdict, ...]) -> str:
    if not judged:
        return "no budget given"
    return "within the budget" if all(one.met for one in judged) else "beyond the budget"
