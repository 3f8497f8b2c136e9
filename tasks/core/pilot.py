"""A run's pilot: its first files, done as a run of their own, and how much the whole may cost then.

None of it is part of a run's identity: the same work with another budget is the same run.
"""

from __future__ import annotations

from pydantic import Field

from tasks.core.options import Options


class PilotOptions(Options):
    """How many files are tried first, and under which budget the run goes on by itself."""

    files: int = Field(
        default=0,
        ge=0,
        title="Files",
        description="Files that are processed first, as a run of their own, to estimate the whole. 0: no pilot. "
        "Without a limit below the flow run then suspends itself until a person resumes it.",
    )
    max_hours: float | None = Field(
        default=None,
        gt=0,
        title="Most hours",
        description="Hours of machine time that the run may take, by the upper end of the estimate. Example: 2.5",
    )
    max_credits: float | None = Field(
        default=None,
        gt=0,
        title="Most credits",
        description="Credits that the run may cost, by the upper end of the estimate; needs the rate. Example: 40",
    )
    credits_per_machine_hour: float | None = Field(
        default=None,
        gt=0,
        title="Credits a machine hour",
        description="What an hour of machine time costs, as your plan says; no platform tells it.",
    )
    max_failure_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Highest failure rate",
        description="Highest share of the pilot's files that may fail, from 0 to 1.",
    )

    @property
    def has_budget(self) -> bool:
        """Whether the run goes on by itself where it stays within limits."""
        limits = (self.max_hours, self.max_credits, self.max_failure_rate)
        return any(limit is not None for limit in limits)
