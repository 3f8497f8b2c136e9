"""What a flow run is about, as tags that Prefect's UI can filter by."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from tasks.core.redaction import redact
from tasks.core.request import RunRequest

MOST_CHARACTERS = 200


def tag_flow_run(request: RunRequest, key: str) -> None:
    """Tags the flow run that is under way with the run's source, workflow and key.

    Args:
        request: what it was asked to do.
        key: the run's, by which every flow run that worked on it is found.
    """
    context = FlowRunContext.get()
    assert context is not None, "called outside of a flow"
    assert context.flow_run is not None, "called before the flow run is known"
    about = {"source": redact(request.source), "workflow": request.workflow, "run": key}
    tags = {*context.flow_run.tags, *(f"{name}:{value}"[:MOST_CHARACTERS] for name, value in about.items())}
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags=sorted(tags))
