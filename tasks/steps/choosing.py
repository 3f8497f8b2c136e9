"""Choosing what of a job's output is exported."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.errors import BadInput
from tasks.core.records import Finished
from tasks.roboflow_api.models import BatchPart

RESULTS = "metadata"
"""Content type of parts that hold results, and nested one of archives of results."""


def output_batch(finished: Finished, stage: str) -> str:
    """The batch of a stage's output.

    Args:
        finished: the job.
        stage: name or id, in whatever case; empty for the batch that users take.

    Raises:
        BadInput: there is no such stage, or it has no output.
    """
    if not stage:
        return finished.export_batch
    wanted = stage.casefold()
    for output in finished.outputs:
        if wanted in (output.name.casefold(), output.id.casefold()) and output.batch:
            return output.batch
    known = ", ".join(output.name for output in finished.outputs if output.batch)
    raise BadInput(f"job {finished.job_id} has no stage {stage!r} with an output: choose from {known}")


def choose_parts(parts: Sequence[BatchPart], names: Sequence[str]) -> list[BatchPart]:
    """The parts of these names; all of them where no name is given.

    Raises:
        BadInput: there is no part of such a name, or none of them holds results.
    """
    known = [part.part_name for part in parts]
    if unknown := sorted(set(names) - set(known)):
        raise BadInput(f"the batch has no part {', '.join(map(repr, unknown))}: choose from {', '.join(known)}")
    chosen = [part for part in parts if not names or part.part_name in names]
    giving = [part.part_name for part in parts if _holds_results(part)]
    if giving and not any(map(_holds_results, chosen)):
        raise BadInput(f"none of the chosen parts holds results: choose {' or '.join(giving)} as well")
    return chosen


def _holds_results(part: BatchPart) -> bool:
    return RESULTS in (part.content_type, part.nested_content_type)
