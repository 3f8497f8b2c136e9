from __future__ import annotations

from typing import Any

import pytest
from prefect.states import Failed

from tasks.core.errors import BadInput, JobFailed, ServiceBusy, UrlExpired
from tasks.retries import STEP, may_pass

ANY: Any = None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ServiceBusy("503"), True),
        (UrlExpired("403"), True),
        (BadInput("x"), False),
        (JobFailed("x"), False),
        (OSError(28, "full"), False),
        (RuntimeError("a fault of ours"), False),
    ],
)
def test_step_is_tried_again_only_for_what_may_pass(error: Exception, again: bool) -> None:
    assert may_pass(ANY, ANY, Failed(data=error)) is again
    assert STEP["retry_condition_fn"] is may_pass
