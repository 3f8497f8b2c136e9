"""How Prefect treats a step: retried for what may pass, failed at once for what will not."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from tasks.core.errors import is_transient


class StepOptions(TypedDict):
    """Options of ``@task`` that all steps share."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: Any
    persist_result: bool


def may_pass(task: Any, task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Prefect's ``retry_condition_fn``: only transient errors are worth another try."""
    return is_transient(state.result(raise_on_failure=False))


STEP: StepOptions = {
    "retries": 3,
    "retry_delay_seconds": [5.0, 30.0, 120.0],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": may_pass,
    # The run's journal knows what is done; a cache beside it would be a second opinion.
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
